#include "src/train/adamw.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <cmath>
#include <set>
#include <stdexcept>
#include <utility>

#include "src/train/adamw_kernel.h"

namespace medfuse::train {

namespace {

/// Parameters and moments are kept in the wider of float32 and the parameter's type.
at::ScalarType master_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

void check_parameter(const NamedTensor& parameter, std::set<std::string>& names) {
  const at::Tensor& tensor = parameter.tensor;
  if (parameter.name.empty() || !names.insert(parameter.name).second) {
    throw std::logic_error("AdamW: parameter name '" + parameter.name + "' is empty or used twice");
  }
  if (!tensor.defined() || !tensor.is_floating_point() || !tensor.is_leaf() || !tensor.is_contiguous()) {
    throw std::logic_error("AdamW: " + parameter.name + " is not a contiguous floating-point leaf");
  }
}

template <class T>
void run_kernel(const at::Tensor& value, const at::Tensor& moment1, const at::Tensor& moment2,
                const at::Tensor& gradient, const AdamWFactors& factors) {
  T* const p = value.data_ptr<T>();
  T* const m = moment1.data_ptr<T>();
  T* const v = moment2.data_ptr<T>();
  const T* const g = gradient.const_data_ptr<T>();
  constexpr std::int64_t grain = 1 << 15;
  at::parallel_for(0, value.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    adamw_kernel(p + begin, m + begin, v + begin, g + begin, static_cast<std::size_t>(end - begin), factors);
  });
}

}  // namespace

void adamw_fused(const at::Tensor& value, const at::Tensor& moment1, const at::Tensor& moment2,
                 const at::Tensor& gradient, const AdamWFactors& factors) {
  for (const at::Tensor* tensor : {&value, &moment1, &moment2, &gradient}) {
    if (!tensor->is_cpu() || !tensor->is_contiguous() || tensor->numel() != value.numel() ||
        tensor->scalar_type() != value.scalar_type()) {
      throw std::logic_error("adamw_fused: contiguous host tensors of one type and size are needed");
    }
  }
  if (value.scalar_type() == at::kFloat) run_kernel<float>(value, moment1, moment2, gradient, factors);
  else if (value.scalar_type() == at::kDouble) run_kernel<double>(value, moment1, moment2, gradient, factors);
  else throw std::logic_error("adamw_fused: float32 or float64 is needed");
}

void adamw_tensors(const at::Tensor& value, const at::Tensor& moment1, const at::Tensor& moment2,
                   const at::Tensor& gradient, const AdamWFactors& factors) {
  const at::NoGradGuard no_grad;
  const at::Tensor scaled = gradient.to(value.scalar_type()) * factors.gradient_scale;
  moment1.lerp_(scaled, 1 - factors.beta1);
  moment2.mul_(factors.beta2).addcmul_(scaled, scaled, 1 - factors.beta2);
  value.mul_(1 - factors.decay)
      .addcdiv_(moment1, (moment2.sqrt() / factors.root_correction).add_(factors.epsilon), -factors.rate);
}

AdamW::AdamW(std::vector<ParameterGroup> groups, AdamWOptions options,
             const std::vector<parallel::OwnedPart>& owned)
    : options_(options) {
  std::set<std::string> names;
  for (const ParameterGroup& group : groups) {
    for (const NamedTensor& parameter : group.parameters) {
      check_parameter(parameter, names);
      Entry entry;
      entry.name = parameter.name;
      entry.parameter = parameter.tensor;
      const parallel::OwnedPart all{{0, parameter.tensor.numel()}, parameter.tensor.detach()};
      const parallel::OwnedPart& part = owned.empty() ? all : owned.at(entries_.size());
      entry.range = part.range;
      entry.value = part.value;
      entry.master = entry.value.to(master_type(entry.value.scalar_type()));  // shares storage where the types agree
      entry.moment1 = at::zeros_like(entry.master);
      entry.moment2 = at::zeros_like(entry.master);
      entry.part = parameter.part;
      entry.rate_factor = group.rate_factor;
      entry.weight_decay = parameter.tensor.dim() >= 2 ? group.weight_decay : 0;
      entries_.push_back(std::move(entry));
    }
  }
  steps_ = at::zeros({static_cast<std::int64_t>(entries_.size())}, at::kLong);
}

void AdamW::step(double learning_rate, double gradient_scale) {
  std::vector<at::Tensor> gradients;
  for (const Entry& entry : entries_) gradients.push_back(entry.parameter.grad());
  step(learning_rate, gradient_scale, gradients);
}

void AdamW::step(double learning_rate, double gradient_scale, const std::vector<at::Tensor>& gradients) {
  if (gradients.size() != entries_.size()) throw std::logic_error("AdamW: not one gradient for each parameter");
  const at::NoGradGuard no_grad;
  auto* const steps = steps_.data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (gradients[i].defined()) update(entries_[i], gradients[i], ++steps[i], learning_rate, gradient_scale);
  }
}

void AdamW::update(const Entry& entry, const at::Tensor& gradient, std::int64_t step, double learning_rate,
                   double gradient_scale) const {
  if (gradient.layout() != at::kStrided) throw std::logic_error("AdamW: " + entry.name + " has a sparse gradient");
  const auto t = static_cast<double>(step);
  const double rate = learning_rate * entry.rate_factor;
  AdamWFactors factors;
  factors.rate = rate / (1 - std::pow(options_.beta1, t));
  factors.decay = rate * entry.weight_decay;
  factors.root_correction = std::sqrt(1 - std::pow(options_.beta2, t));
  factors.beta1 = options_.beta1;
  factors.beta2 = options_.beta2;
  factors.epsilon = options_.epsilon;
  factors.gradient_scale = gradient_scale;
  if (entry.master.is_cpu()) {
    const at::Tensor same_type = gradient.to(entry.master.scalar_type()).contiguous();
    adamw_fused(entry.master, entry.moment1, entry.moment2, same_type, factors);
  } else {
    adamw_tensors(entry.master, entry.moment1, entry.moment2, gradient, factors);
  }
  if (entry.master.scalar_type() != entry.value.scalar_type()) entry.value.copy_(entry.master);
}

void AdamW::zero_grad() {
  for (Entry& entry : entries_) entry.parameter.mutable_grad().reset();
}

std::vector<NamedTensor> AdamW::parameters() const {
  std::vector<NamedTensor> list;
  for (const Entry& entry : entries_) list.push_back({entry.name, entry.parameter, entry.part});
  return list;
}

std::vector<checkpoint::ShardedTensor> AdamW::state() const {
  std::vector<checkpoint::ShardedTensor> list;
  const auto add = [&](const Entry& entry, const std::string& what, const at::Tensor& tensor) {
    const NamedTensor parameter{entry.name + what, entry.parameter, entry.part};
    for (auto& block : blocks_of(parameter, {entry.range, tensor})) list.push_back(std::move(block));
  };
  for (const Entry& entry : entries_) {
    add(entry, ".moment1", entry.moment1);
    add(entry, ".moment2", entry.moment2);
    if (entry.master.scalar_type() != entry.value.scalar_type()) add(entry, ".master", entry.master);
  }
  list.push_back(checkpoint::replicated("steps", steps_));
  return list;
}

}  // namespace medfuse::train
