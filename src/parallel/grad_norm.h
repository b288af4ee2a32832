// The global length of the gradient, and clipping by it.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace medfuse::parallel {

/// Sum of the squares of all elements, in float64. Undefined tensors count as zero.
double sum_of_squares(const std::vector<at::Tensor>& tensors);

/// L2 norm of all gradients together, summed in float64. The gradients are already reduced over the ranks, so each is
/// counted once and no rank needs another. A parameter without a gradient counts as zero.
double gradient_norm(const std::vector<at::Tensor>& parameters);

/// Scales all gradients by max_norm / norm where the norm exceeds max_norm, and returns the norm from before. A norm that
/// is not finite leaves the gradients as they are: the caller decides. max_norm 0 only measures.
double clip_gradients(const std::vector<at::Tensor>& parameters, double max_norm);

}  // namespace medfuse::parallel
