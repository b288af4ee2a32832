#include "cluster/reduce_in_order.h"

#include <ATen/Functions.h>
#include <ATen/TensorIterator.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

namespace medfuse::cluster {

void reduce_in_order(const at::Tensor& result, const std::vector<at::Tensor>& parts, Reduction reduction) {
  // In pieces that stay in the cache while all parts are added to them, and that LibTorch does not share out: this may run
  // beside the program's computation, whose threads have the cores.
  constexpr std::int64_t largest_piece = at::internal::GRAIN_SIZE - 64;
  const c10::InferenceMode no_grad;
  const at::ScalarType type = result.scalar_type();
  const bool widen = reduction == Reduction::sum && (type == at::kBFloat16 || type == at::kHalf);
  const std::int64_t count = result.numel();
  const at::Tensor scratch =
      at::empty({std::min(count, largest_piece)}, result.options().dtype(widen ? at::kFloat : type));
  for (std::int64_t begin = 0; begin < count; begin += largest_piece) {
    const std::int64_t length = std::min(largest_piece, count - begin);
    const auto piece = [&](const at::Tensor& whole) { return whole.narrow(0, begin, length); };
    at::Tensor reduced = scratch.narrow(0, 0, length);
    reduced.copy_(piece(parts.front()));
    for (std::size_t r = 1; r < parts.size(); ++r) {
      if (reduction == Reduction::sum) {
        reduced.add_(piece(parts[r]));
      } else {
        at::maximum_out(reduced, reduced, piece(parts[r]));
      }
    }
    piece(result).copy_(reduced);
  }
}

}  // namespace medfuse::cluster
