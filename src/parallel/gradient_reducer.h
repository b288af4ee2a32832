// Sums the ranks' gradients, so that each rank steps with the gradient of the global loss.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/communicator.h"

namespace medfuse::parallel {

/// Losses are local sums over global counts, so gradients are summed and never divided by the number of ranks.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// Before the backward pass of the last micro-batch of a step: from now on a finished gradient may be sent.
  virtual void prepare() = 0;
  /// After that backward pass. Collective. On return every parameter has a gradient: the sum over the ranks, zero where
  /// no rank had one. Throws Error(communication) if a peer is gone.
  virtual void finish() = 0;
};

struct ReducerOptions {
  double bucket_mib = 32;  ///< gradients travel in flat buckets of about this size
  /// Element type on the wire and of the sum; none: the gradient's own. bf16 and f16 are summed in f32, rounded once.
  std::optional<at::ScalarType> dtype;
};

/// Buckets in the order of the list, started one after another and then awaited. The list must be the same on all ranks
/// (shapes, types, order); gradients are dense and of the parameter's type. `communicator` must outlive the reducer.
/// Throws std::logic_error for an empty list or a bucket size that is not positive.
std::unique_ptr<GradientReducer> make_bucketed_reducer(std::vector<at::Tensor> parameters,
                                                       cluster::Communicator& communicator,
                                                       const ReducerOptions& options = {});

}  // namespace medfuse::parallel
