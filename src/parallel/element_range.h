// A run of a parameter's elements: what one rank updates of it, and where that lies.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

namespace medfuse::parallel {

/// Elements [begin, end) of a tensor in row-major order.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

/// What one rank updates of a parameter.
struct OwnedPart {
  ElementRange range;
  at::Tensor value;  ///< these elements, live: in the parameter's shape where they are all of it, else flat
};

/// A parameter that is whole only while it is in use: one of those that lie end to end in the flat tensor of a unit, of
/// which each rank keeps a block of equal length (WeightShards).
struct UnitPart {
  std::size_t unit = 0;
  std::int64_t begin = 0;   ///< element of the flat tensor where it begins
  std::int64_t length = 0;  ///< of the flat tensor, all ranks' blocks together
  OwnedPart owned;          ///< what this rank keeps of it
};

}  // namespace medfuse::parallel
