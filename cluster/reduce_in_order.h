// Sums and maxima of host tensors in a fixed order, so that their bits repeat.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "cluster/communicator.h"

namespace medfuse::cluster {

/// Writes to `result` the reduction of `parts` in the order of the list: flat tensors, all of one type and length;
/// `result` may be one of them. Sums of bf16 and f16 are formed in f32 and rounded once. Any thread may call it, under
/// any autograd mode; it uses no other threads.
void reduce_in_order(const at::Tensor& result, const std::vector<at::Tensor>& parts, Reduction reduction);

}  // namespace medfuse::cluster
