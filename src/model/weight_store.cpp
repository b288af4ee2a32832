#include "src/model/weight_store.h"

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace medfuse::model {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Call : torch::CustomClassHolder {
  explicit Call(std::function<void()> given) : run(std::move(given)) {}
  std::function<void()> run;
};

/// x itself; calls when its gradient comes.
struct CallOnGradient : torch::autograd::Function<CallOnGradient> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const c10::intrusive_ptr<Call>& call) {
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    return x.view_as(x);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule())->run();
    return {gradients[0], at::Tensor()};
  }
};

}  // namespace

void WeightPasses::forward(std::size_t unit) const {
  if (store_) store_->fetch(unit, unit + 1 < units_ ? std::optional(unit + 1) : std::nullopt);
}

void WeightPasses::backward(std::size_t unit) const {
  if (store_) store_->fetch(unit, unit > lowest_ ? std::optional(unit - 1) : std::nullopt);
}

at::Tensor WeightPasses::on_the_way_back(std::size_t unit, const at::Tensor& x) const {
  if (!store_ || !at::GradMode::is_enabled() || !x.requires_grad()) return x;
  return CallOnGradient::apply(x, c10::make_intrusive<Call>([passes = *this, unit] { passes.backward(unit); }));
}

void WeightPasses::idle_forward() const {
  for (std::size_t unit = 0; unit < units_; ++unit) forward(unit);
}

void WeightPasses::idle_backward() const {
  for (std::size_t unit = units_; unit-- > lowest_;) backward(unit);
}

}  // namespace medfuse::model
