// A run of a parameter's elements: what one rank updates of it.
#pragma once

#include <cstdint>

namespace medfuse::parallel {

/// Elements [begin, end) of a tensor in row-major order.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

}  // namespace medfuse::parallel
