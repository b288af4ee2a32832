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
  ops::DropoutKeys keys;  // of x's rows
  TensorParallelPtr ranks;
  Split split;
  RowShare rows;

  bool column() const { return split == Split::column && ranks->size > 1; }
  bool row() const { return split == Split::row && ranks->size > 1; }
  /// Masks are those of the whole x, of which a row-parallel projection sees a part.
  std::int64_t first_feature(const Item& item) const { return row() ? item.span.begin : 0; }
  /// Of rows that are there in part on every rank, the sum: all rows, in place, or this rank's.
  at::Tensor sum(const at::Tensor& partial) const {
    if (rows.split()) return rows.sum(partial);
    ranks->sum(partial);
    return partial;
  }
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

/// Neighbours along the features, so that one collective serves all.
at::Tensor side_by_side(const std::vector<at::Tensor>& parts) { return parts.size() == 1 ? parts[0] : at::cat(parts, 1); }

/// factors: A and B of each projection that has an adapter, in turn.
///
/// Column parallel, the rows of x are those of all ranks or this rank's share. What is done with A is done on x's own
/// rows; only the R features behind A and the result travel. The features behind A and the gradient of x are complete
/// once summed over the ranks.
struct Projections : torch::autograd::Function<Projections> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::TensorList& factors,
                               const c10::intrusive_ptr<Plan>& plan) {
    variable_list saved;
    if (!factors.empty()) saved.push_back(x);
    std::vector<at::Tensor> behind_A = reduced(x, factors, *plan);
    const at::Tensor input = plan->column() ? plan->rows.all(x) : x;
    variable_list outputs;
    std::size_t adapter = 0;
    for (const Plan::Item& item : plan->items) {
      at::Tensor y = at::linear(input, item.weight);
      if (item.adapted) {
        const at::Tensor& A = factors[2 * adapter];
        const at::Tensor& B = factors[2 * adapter + 1];
        const at::Tensor& u = behind_A[adapter++];
        y.addmm_(u, B.to(x.scalar_type()).t(), 1, item.scale);
        saved.insert(saved.end(), {A, B, u});
      }
      outputs.push_back(plan->row() ? plan->sum(y) : y);
    }
    context->save_for_backward(saved);
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const bool wants_dx = context->needs_input_grad(0);
    const auto A_of = [&](std::size_t adapter) -> const at::Tensor& { return saved[1 + 3 * adapter]; };
    const auto B_of = [&](std::size_t adapter) -> const at::Tensor& { return saved[2 + 3 * adapter]; };
    const auto u_of = [&](std::size_t adapter) -> const at::Tensor& { return saved[3 + 3 * adapter]; };

    at::Tensor dx;
    std::vector<at::Tensor> du, dB;  // of each adapter
    for (std::size_t i = 0; i < plan->items.size(); ++i) {
      const Plan::Item& item = plan->items[i];
      const at::Tensor dy = (plan->row() ? plan->rows.all(gradients[i]) : gradients[i]).contiguous();
      if (wants_dx) dx = dx.defined() ? dx.addmm_(dy, item.weight) : dy.mm(item.weight);
      if (!item.adapted) continue;
      const std::size_t adapter = du.size();
      du.push_back(dy.mm(B_of(adapter).to(dy.scalar_type())).mul_(item.scale));
      dB.push_back(dy.t().mm(u_of(adapter)).mul_(item.scale).to(B_of(adapter).scalar_type()));
      if (plan->column() && item.copies > 1) sum_copies(*plan->ranks, item.span, dB.back());
    }
    if (plan->column()) {
      if (wants_dx) dx = plan->sum(dx);
      if (!du.empty()) du = plan->sum(side_by_side(du)).split_with_sizes(widths(du), 1);
    }

    variable_list results = {at::Tensor()};
    std::vector<at::Tensor> partial;  // gradients of factors that every rank has whole, and saw a part of
    std::size_t adapter = 0;
    for (const Plan::Item& item : plan->items) {
      if (!item.adapted) continue;
      const at::Tensor& A = A_of(adapter);
      const std::int64_t first = plan->first_feature(item);
      const at::Tensor dropped = ops::dropout(saved[0], item.dropout, plan->keys, item.layer, item.site, first);
      const at::Tensor dA = du[adapter].t().mm(dropped).to(A.scalar_type());
      if (plan->column() && plan->rows.split()) partial.push_back(dA);
      if (plan->row()) partial.push_back(dB[adapter]);
      if (wants_dx) {
        const at::Tensor back = du[adapter].mm(A.to(dx.scalar_type()));
        ops::add_dropout_(dx, back, item.dropout, plan->keys, item.layer, item.site, first);
      }
      results.insert(results.end(), {dA, dB[adapter++]});
    }
    sum_together(*plan->ranks, partial);
    results[0] = dx;
    results.emplace_back();  // of the plan
    return results;
  }

 private:
  /// A dropout(x) [T, R] of each adapter; of all rows where x is column parallel.
  static std::vector<at::Tensor> reduced(const at::Tensor& x, const at::TensorList& factors, const Plan& plan) {
    std::vector<at::Tensor> parts;
    for (const Plan::Item& item : plan.items) {
      if (!item.adapted) continue;
      const at::Tensor dropped =
          ops::dropout(x, item.dropout, plan.keys, item.layer, item.site, plan.first_feature(item));
      parts.push_back(at::linear(dropped, factors[2 * parts.size()].to(x.scalar_type())));
    }
    if (parts.empty() || !plan.column() || !plan.rows.split()) return parts;
    return plan.rows.all(side_by_side(parts)).split_with_sizes(widths(parts), 1);
  }

  static std::vector<std::int64_t> widths(const std::vector<at::Tensor>& parts) {
    std::vector<std::int64_t> all;
    for (const at::Tensor& part : parts) all.push_back(part.size(1));
    return all;
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
                                const ops::DropoutKeys& keys, const RowShare& rows) {
  auto plan = c10::make_intrusive<Plan>();
  plan->keys = keys;
  plan->ranks = projections.front()->share_.ranks;
  plan->split = projections.front()->share_.split;
  plan->rows = rows;
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
