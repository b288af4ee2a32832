#include "src/model/recompute.h"

#include <ATen/ThreadLocalState.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <stdexcept>

#include "base/error.h"

namespace medfuse::model {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the second run needs beside the tensors that gradients flow to.
struct Plan : torch::CustomClassHolder {
  Part part;
  Modules modules;             // kept alive: the part refers to them
  at::ThreadLocalState state;  // holds autocast's settings
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::TensorList& parameters,
                            const c10::intrusive_ptr<Plan>& plan) {
    at::Tensor y = plan->part(x);  // without a graph: this is called with gradients off
    // The parameters cost nothing, and saving them shows when an optimiser has changed one in between.
    variable_list saved = {x};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    context->save_for_backward(saved);
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    if (at::GradMode::is_enabled()) throw std::logic_error("recompute: no gradients of gradients");
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    variable_list inputs = context->get_saved_variables();  // x, then the parameters
    inputs[0] = inputs[0].detach().requires_grad_(context->needs_input_grad(0));
    variable_list wanted;
    std::vector<std::size_t> places;  // among the inputs
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!context->needs_input_grad(i)) continue;
      wanted.push_back(inputs[i]);
      places.push_back(i);
    }

    const at::Tensor y = run_again(*plan, inputs[0]);
    const at::Tensor& dy = gradients[0];
    if (y.sizes() != dy.sizes() || y.scalar_type() != dy.scalar_type()) {
      throw std::logic_error("recompute: the second run of a part gave another shape or type than the first");
    }
    // Captured, not accumulated: what becomes of a gradient is for the outer pass to decide.
    const variable_list found = torch::autograd::grad({y}, wanted, {dy}, /*retain_graph=*/false,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
    variable_list results(inputs.size() + 1);  // the last one belongs to the plan
    for (std::size_t i = 0; i < places.size(); ++i) results[places[i]] = found[i];
    return results;
  }

 private:
  /// With a graph, and with the thread's settings of the first run, which those of this backward pass need not be.
  static at::Tensor run_again(const Plan& plan, const at::Tensor& x) {
    const at::ThreadLocalStateGuard state(plan.state);
    const torch::AutoGradMode record(true);
    return plan.part(x);
  }
};

}  // namespace

Recompute recompute_mode(const std::string& word) {
  if (word == "none") return Recompute::none;
  if (word == "attention") return Recompute::attention;
  if (word == "full") return Recompute::full;
  usage_error("recompute = '{}' is not known: none, attention, full", word);
}

at::Tensor recompute_if(bool wanted, const Modules& modules, const at::Tensor& x, const Part& part) {
  if (!wanted || !at::GradMode::is_enabled()) return part(x);
  variable_list parameters;
  for (const auto& module : modules) {
    for (const at::Tensor& parameter : module->parameters()) {
      if (parameter.requires_grad()) parameters.push_back(parameter);
    }
  }
  if (parameters.empty() && !x.requires_grad()) return part(x);
  auto plan = c10::make_intrusive<Plan>();
  plan->part = part;
  plan->modules = modules;
  return Recomputed::apply(x, at::TensorList(parameters), plan);
}

}  // namespace medfuse::model
