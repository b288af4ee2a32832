// Sums and maxima of host memory in a fixed order, so that their bits repeat.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "cluster/communicator.h"

namespace medfuse::cluster {

/// Writes to `result` the reduction of `parts` in the order of the list: `count` elements each, of a type that
/// communicators carry. `result` may be one of the parts. Sums of bf16 and f16 are formed in f32 and rounded once. Any
/// thread may call it, under any autograd mode; it uses no other threads.
void reduce_in_order(void* result, const std::vector<const void*>& parts, std::int64_t count, at::ScalarType type,
                     Reduction reduction);

}  // namespace medfuse::cluster
