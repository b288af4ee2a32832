// A sum over all ranks that gradients flow through: statistics of the global batch inside a local loss.
#pragma once

#include <ATen/core/Tensor.h>

#include "cluster/communicator.h"

namespace medfuse::parallel {

/// Sum of the ranks' `x` (any shape, the same on all ranks, floating type), on every rank.
///
/// Convention of the gradient: each rank's loss is its share of one global sum, L = sum_r L_r, so the gradient of L with
/// respect to the global sum is the sum over ranks of each one's gradient, and that is what every rank's x receives.
/// A quantity that all ranks compute alike must therefore enter the loss divided by the number of ranks, or on one only.
///
/// Collective in the forward and in the backward pass: on every rank, also one without samples, x must be connected to a
/// parameter (or require a gradient) and the result must be used by the loss; otherwise that rank would be missing in
/// the others' backward pass. `communicator` must outlive the graph.
at::Tensor global_sum(const at::Tensor& x, cluster::Communicator& communicator);

}  // namespace medfuse::parallel
