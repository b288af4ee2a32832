#include "cluster/reduce_in_order.h"

#include <ATen/Functions.h>
#include <ATen/TensorIterator.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace medfuse::cluster {

namespace {

template <class T>
void add(T* sum, const T* a, const T* b, std::int64_t count) {
#pragma GCC ivdep  // `sum` may be a or b, never shifted against them
  for (std::int64_t i = 0; i < count; ++i) sum[i] = a[i] + b[i];
}

/// In pieces that stay in the nearest cache while all parts are added, beside `result`, which may be a later part.
template <class T>
void sum_in_order(void* result, const std::vector<const void*>& parts, std::int64_t count) {
  constexpr std::size_t piece = (8 << 10) / sizeof(T);
  std::array<T, piece> scratch;
  for (std::int64_t begin = 0; begin < count; begin += piece) {
    const std::int64_t length = std::min<std::int64_t>(piece, count - begin);
    const T* sum = static_cast<const T*>(parts[0]) + begin;
    for (std::size_t r = 1; r < parts.size(); ++r) {
      T* const next = r + 1 == parts.size() ? static_cast<T*>(result) + begin : scratch.data();
      add(next, sum, static_cast<const T*>(parts[r]) + begin, length);
      sum = next;
    }
  }
}

/// By LibTorch, for what needs its conversions or its treatment of NaN.
void reduce_tensors(const at::Tensor& result, const std::vector<at::Tensor>& parts, Reduction reduction) {
  // In pieces that stay in the cache while all parts are added to them, and that LibTorch does not share out: this may run
  // beside the program's computation, whose threads have the cores.
  constexpr std::int64_t largest_piece = at::internal::GRAIN_SIZE - 64;
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

}  // namespace

void reduce_in_order(void* result, const std::vector<const void*>& parts, std::int64_t count, at::ScalarType type,
                     Reduction reduction) {
  if (reduction == Reduction::sum && parts.size() > 1) {
    if (type == at::kFloat) return sum_in_order<float>(result, parts, count);
    if (type == at::kDouble) return sum_in_order<double>(result, parts, count);
  }
  const c10::InferenceMode no_grad;
  const auto tensor = [&](const void* data) { return at::from_blob(const_cast<void*>(data), {count}, type); };
  std::vector<at::Tensor> tensors;
  for (const void* part : parts) tensors.push_back(tensor(part));
  reduce_tensors(tensor(result), tensors, reduction);
}

}  // namespace medfuse::cluster
