#include "src/model/lora.h"

#include <cmath>
#include <stdexcept>

#include "src/model/seed.h"
#include "src/ops/dispatch.h"

namespace medfuse::model {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What one step of the graph needs beside the tensors that are learned.
struct Plan : torch::CustomClassHolder {
  struct Item {
    at::Tensor weight;
    bool adapted;
    double scale;
    double dropout;
    std::int64_t layer;
    ops::Site site;
    Span span;
    int copies;
  };
  std::vector<Item> items;
  ops::DropoutKeys keys;
  TensorParallelPtr ranks;
  Split split;

  bool column() const { return split == Split::column && ranks->size > 1; }
  bool row() const { return split == Split::row && ranks->size > 1; }
  /// Masks are those of the whole x, of which a row-parallel projection sees a part.
  std::int64_t first_feature(const Item& item) const { return row() ? item.span.begin : 0; }
};

/// Completes gradients that every rank has a part of: one sum for all.
void sum_together(const TensorParallel& ranks, const std::vector<at::Tensor>& parts) {
  if (parts.empty()) return;
  std::vector<at::Tensor> flat;
  for (const at::Tensor& part : parts) flat.push_back(part.flatten());
  const at::Tensor all = at::cat(flat);
  ranks.sum(all);
  std::int64_t begin = 0;
  for (const at::Tensor& part : parts) {
    part.copy_(all.narrow(0, begin, part.numel()).view(part.sizes()));
    begin += part.numel();
  }
}

/// Gradient of a share of B that some ranks hold in common: the sum of theirs, found at its place among all rows.
void sum_copies(const TensorParallel& ranks, const Span& span, const at::Tensor& dB) {
  const at::Tensor all = at::zeros({span.global, dB.size(1)}, dB.options());
  all.narrow(0, span.begin, span.length).copy_(dB);
  ranks.sum(all);
  dB.copy_(all.narrow(0, span.begin, span.length));
}

/// factors: A and B of each projection that has an adapter, in turn.
struct Projections : torch::autograd::Function<Projections> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::TensorList& factors,
                               const c10::intrusive_ptr<Plan>& plan) {
    variable_list outputs;
    variable_list saved;
    if (!factors.empty()) saved.push_back(x);
    std::size_t next = 0;
    for (const Plan::Item& item : plan->items) {
      at::Tensor y = at::linear(x, item.weight);
      if (item.adapted) {
        const at::Tensor& A = factors[next++];
        const at::Tensor& B = factors[next++];
        const at::Tensor dropped =
            ops::dropout(x, item.dropout, plan->keys, item.layer, item.site, plan->first_feature(item));
        const at::Tensor reduced = at::linear(dropped, A.to(x.scalar_type()));
        y.addmm_(reduced, B.to(x.scalar_type()).t(), 1, item.scale);
        saved.insert(saved.end(), {A, B, reduced});
      }
      if (plan->row()) plan->ranks->sum(y);
      outputs.push_back(y);
    }
    context->save_for_backward(saved);
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const bool wants_dx = context->needs_input_grad(0);
    at::Tensor dx;
    variable_list results = {at::Tensor()};
    std::vector<at::Tensor> partial;  // gradients of the replicated factors
    std::size_t next = 1;  // saved[0] is x
    for (std::size_t i = 0; i < plan->items.size(); ++i) {
      const Plan::Item& item = plan->items[i];
      const at::Tensor dy = gradients[i].contiguous();
      if (wants_dx) dx = dx.defined() ? dx.addmm_(dy, item.weight) : dy.mm(item.weight);
      if (!item.adapted) continue;
      const at::Tensor& x = saved[0];
      const at::Tensor& A = saved[next++];
      const at::Tensor& B = saved[next++];
      const at::Tensor& reduced = saved[next++];
      const at::Tensor dreduced = dy.mm(B.to(dy.scalar_type())).mul_(item.scale);
      const std::int64_t first = plan->first_feature(item);
      const at::Tensor dropped = ops::dropout(x, item.dropout, plan->keys, item.layer, item.site, first);
      const at::Tensor dA = dreduced.t().mm(dropped).to(A.scalar_type());
      const at::Tensor dB = dy.t().mm(reduced).mul_(item.scale).to(B.scalar_type());
      if (plan->column()) partial.push_back(dA);
      if (plan->row()) partial.push_back(dB);
      if (plan->column() && item.copies > 1) sum_copies(*plan->ranks, item.span, dB);
      results.insert(results.end(), {dA, dB});
      if (wants_dx) {
        const at::Tensor back = dreduced.mm(A.to(dy.scalar_type()));
        ops::add_dropout_(dx, back, item.dropout, plan->keys, item.layer, item.site, first);
      }
    }
    if (plan->column() && wants_dx) plan->ranks->sum(dx);
    sum_together(*plan->ranks, partial);
    results[0] = dx;
    results.emplace_back();  // of the plan
    return results;
  }
};

/// Keys of x [B, L, I] for its rows laid end to end.
ops::DropoutKeys flatten(const ops::DropoutKeys& keys, const at::Tensor& x) {
  if (!keys.sample_keys_B.defined() || x.dim() == 2) return keys;
  return {keys.sample_keys_B.repeat_interleave(x.size(1)),
          at::arange(x.size(1), keys.sample_keys_B.options()).repeat({x.size(0)})};
}

}  // namespace

LoraLinear::LoraLinear(at::Tensor weight_OI, LoraShare share) : share_(std::move(share)) {
  weight_ = register_buffer("weight", std::move(weight_OI));
}

LoraLinear::LoraLinear(at::Tensor weight_OI, const LoraOptions& lora, const LoraPlace& place, LoraShare share)
    : LoraLinear(std::move(weight_OI), std::move(share)) {
  const at::TensorOptions options = weight_.options().dtype(ops::wide_type(weight_.scalar_type()));
  const auto add_factor = [&](const char* name, std::int64_t rows, std::int64_t columns) {
    auto factor = std::make_shared<torch::nn::Module>();
    const at::Tensor value = factor->register_parameter("weight", at::zeros({rows, columns}, options));
    register_module(name, factor);
    return value;
  };
  lora_A_ = add_factor("lora_A", lora.rank, weight_.size(1));
  lora_B_ = add_factor("lora_B", weight_.size(0), lora.rank);
  // A split A holds its columns of the whole one's values.
  const bool row = share_.split == Split::row;
  const std::int64_t inputs = row ? share_.span.global : weight_.size(1);
  const at::Tensor whole_A = row ? at::empty({lora.rank, inputs}, options) : lora_A_;
  seed_uniform(whole_A, 1 / std::sqrt(static_cast<double>(inputs)), place.seed, place.name + ".lora_A.weight");
  if (row) {
    const torch::NoGradGuard no_grad;
    lora_A_.copy_(whole_A.narrow(1, share_.span.begin, share_.span.length));
  }
  scale_ = lora.alpha / static_cast<double>(lora.rank);
  dropout_ = lora.dropout;
  layer_ = place.layer;
  site_ = place.site;
}

at::Tensor LoraLinear::forward(const at::Tensor& x, const ops::DropoutKeys& keys) {
  if (x.dim() != 2 && x.dim() != 3) throw std::logic_error("LoraLinear: x must be [T, I] or [B, L, I]");
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() = weight_.size(0);
  return project(x.reshape({-1, x.size(-1)}), {this}, flatten(keys, x))[0].view(shape);
}

at::Tensor LoraLinear::merged() const {
  if (!adapted()) return weight_;
  const torch::NoGradGuard no_grad;
  return (weight_.to(lora_A_.scalar_type()) + scale_ * lora_B_.mm(lora_A_)).to(weight_.scalar_type());
}

std::vector<at::Tensor> project(const at::Tensor& x, const std::vector<LoraLinear*>& projections,
                                const ops::DropoutKeys& keys) {
  auto plan = c10::make_intrusive<Plan>();
  plan->keys = keys;
  plan->ranks = projections.front()->share_.ranks;
  plan->split = projections.front()->share_.split;
  variable_list factors;
  for (const LoraLinear* projection : projections) {
    plan->items.push_back({projection->weight_, projection->adapted(), projection->scale_, projection->dropout_,
                           projection->layer_, projection->site_, projection->share_.span, projection->share_.copies});
    if (projection->adapted()) factors.insert(factors.end(), {projection->lora_A_, projection->lora_B_});
  }
  return Projections::apply(x.contiguous(), at::TensorList(factors), plan);
}

std::map<std::string, ParameterPart> split_parameters(const torch::nn::Module& module) {
  std::map<std::string, ParameterPart> parts;
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    const auto* linear = dynamic_cast<const LoraLinear*>(item.value().get());
    if (!linear || !linear->adapted()) continue;
    const LoraShare& share = linear->share();
    if (share.split == Split::none || share.span.whole()) continue;
    if (share.split == Split::column) parts[item.key() + ".lora_B.weight"] = {0, share.span, share.copies};
    else parts[item.key() + ".lora_A.weight"] = {1, share.span, share.copies};
  }
  return parts;
}

}  // namespace medfuse::model
