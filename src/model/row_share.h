// Sequence parallelism (Korthikanti et al., arXiv 2205.05198): between the projections of a block, where every token stands
// for itself, each rank of a tensor group keeps its share of the tokens only.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "src/model/tensor_parallel.h"

namespace medfuse::model {

/// How rows [T, ...] lie on the ranks: all on each, or an equal share on each, in rank order, filled up with zeros.
class RowShare {
 public:
  /// All rows on every rank.
  RowShare() = default;
  /// T = `total` rows, split over the ranks if these want it (TensorParallel::sequence).
  RowShare(const TensorParallelPtr& ranks, std::int64_t total);

  bool split() const { return ranks_ != nullptr; }
  /// [T, ...] -> [n, ...], n = T / ranks rounded up: what this rank keeps. The same tensor where nothing is split.
  at::Tensor own(const at::Tensor& all) const;
  /// [n, F] -> [T, F], of all ranks. Collective, without gradient. The same tensor where nothing is split.
  at::Tensor all(const at::Tensor& own) const;
  /// Sum over the ranks of [T, F], each rank getting its own rows [n, F]. Collective, without gradient; only where rows are
  /// split.
  at::Tensor sum(const at::Tensor& partial) const;
  /// all() with gradient, for rows that every rank then treats alike: what flows back is whole on each, and each takes its
  /// own rows of it.
  at::Tensor joined(const at::Tensor& own) const;

 private:
  std::int64_t each() const;  // n

  TensorParallelPtr ranks_;  // null: not split
  std::int64_t total_ = 0;
};

}  // namespace medfuse::model
