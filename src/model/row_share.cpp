#include "src/model/row_share.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace medfuse::model {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Share : torch::CustomClassHolder {
  explicit Share(RowShare given) : rows(std::move(given)) {}
  RowShare rows;
};

struct Joined : torch::autograd::Function<Joined> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& own, const c10::intrusive_ptr<Share>& share) {
    context->saved_data["share"] = c10::IValue::make_capsule(share);
    return share->rows.all(own);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto share = c10::static_intrusive_pointer_cast<Share>(context->saved_data["share"].toCapsule());
    return {share->rows.own(gradients[0]), at::Tensor()};
  }
};

/// Zeros behind the rows of x, up to `rows`.
at::Tensor filled_up(const at::Tensor& x, std::int64_t rows) {
  if (x.size(0) == rows) return x;
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] = rows - x.size(0);
  return at::cat({x, at::zeros(shape, x.options())});
}

}  // namespace

RowShare::RowShare(const TensorParallelPtr& ranks, std::int64_t total) : total_(total) {
  if (ranks->sequence && ranks->size > 1) ranks_ = ranks;
}

std::int64_t RowShare::each() const { return (total_ + ranks_->size - 1) / ranks_->size; }

at::Tensor RowShare::own(const at::Tensor& all) const {
  if (!split()) return all;
  const std::int64_t begin = std::min(ranks_->rank * each(), total_);
  const at::Tensor mine = all.narrow(0, begin, std::min(each(), total_ - begin));
  return filled_up(mine, each()).contiguous();
}

at::Tensor RowShare::all(const at::Tensor& own) const {
  return split() ? ranks_->gather(own.contiguous()).narrow(0, 0, total_) : own;
}

at::Tensor RowShare::sum(const at::Tensor& partial) const {
  return ranks_->sum_scatter(filled_up(partial, each() * ranks_->size).contiguous());
}

at::Tensor RowShare::joined(const at::Tensor& own) const {
  return split() ? Joined::apply(own, c10::make_intrusive<Share>(*this)) : own;
}

}  // namespace medfuse::model
