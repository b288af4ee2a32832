// Tensor parallelism as a model sees it (Shoeybi et al., arXiv 1909.08053): which share of a projection is here, and a sum
// over the ranks that hold the others. Knows no communicator.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace medfuse::model {

/// The ranks that hold one model together. All of them see the same samples; what is not split is computed alike, and to
/// the same bits, on each.
struct TensorParallel {
  int rank = 0;
  int size = 1;
  /// In place, over the ranks, the same bits on each. Undefined where size is 1.
  std::function<void(const at::Tensor&)> sum;

  /// Whether tokens between the projections are divided among the ranks (row_share.h); then the following are there too.
  bool sequence = false;
  /// [n, F] -> [size * n, F]: the rows of all ranks in rank order.
  std::function<at::Tensor(const at::Tensor&)> gather;
  /// [size * n, F] -> [n, F]: this rank's rows of the sum over the ranks, with the bits of `sum`.
  std::function<at::Tensor(const at::Tensor&)> sum_scatter;
};

/// Shared by all that is split; never null.
using TensorParallelPtr = std::shared_ptr<const TensorParallel>;
TensorParallelPtr no_tensor_parallel();

/// How y = W x is split: none; column: every rank has some outputs (rows of W) and the whole x; row: every rank has some
/// inputs (columns of W), and y is a sum over the ranks. The names are those of the transposed matrix in the paper.
enum class Split { none, column, row };

/// Which part of a dimension is here: [begin, begin + length) of `global`.
struct Span {
  std::int64_t begin = 0;
  std::int64_t length = 0;
  std::int64_t global = 0;
  bool whole() const { return length == global; }
};

/// Rank's equal share of `global`, which size divides.
Span equal_share(std::int64_t global, const TensorParallel& ranks);

/// Rank's share of `heads` key/value heads, in heads: an equal one, or where there are fewer heads than ranks, one head
/// that size / heads neighbouring ranks have in common.
Span head_share(std::int64_t heads, const TensorParallel& ranks);

/// What of a parameter is here, for checkpoints and norms: `span` of dimension `dim`, with so many equal copies on
/// other ranks of the group as `copies` says, itself counted.
struct ParameterPart {
  std::int64_t dim = 0;
  Span span;
  int copies = 1;
};

/// Why so many ranks cannot split the query heads, the key/value heads (or a multiple of them) and the inner width of the
/// feed-forward part evenly, in words that follow the number; empty: they can.
std::string degree_obstacle(std::int64_t size, std::int64_t heads, std::int64_t key_heads, std::int64_t inner_width);

/// Throws Error(usage) naming parallel.tensor, and the degrees that suit the model, where there is one.
void check_tensor_degree(int size, std::int64_t heads, std::int64_t key_heads, std::int64_t inner_width);

}  // namespace medfuse::model
