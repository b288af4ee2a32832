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
  /// Before the backward pass of the last micro-batch of a step (and so even on a rank that has none): from now on a
  /// gradient that has been accumulated may be sent, while the pass still computes others. Until finish() that pass is
  /// the only one to touch the gradients, and nothing else may use the communicator: ranks without a sample would meet
  /// in another order. Without prepare() nothing is sent before finish().
  virtual void prepare() = 0;
  /// After that backward pass. Collective. On return every parameter has a gradient: the sum over the ranks, zero where
  /// no rank had one. It may share memory with other parameters' gradients. Throws Error(communication) if a peer is
  /// gone.
  virtual void finish() = 0;
};

struct ReducerOptions {
  double bucket_mib = 32;  ///< gradients travel in flat buckets of about this size
  /// Element type on the wire and of the sum; none: the gradient's own. bf16 and f16 are summed in f32, rounded once.
  std::optional<at::ScalarType> dtype;
};

/// Buckets from the end of the list to its front (see flat_buckets.h), each started when the backward pass has
/// completed it and all before it. The list must be the same on all ranks (shapes, types, order) and should be in the
/// order of the forward pass; gradients are dense and of the parameter's type. `communicator` must outlive the reducer,
/// the parameters may; they carry its hooks while it lives, so a parameter belongs to one reducer at a time.
/// Throws std::logic_error for an empty list, a bucket size that is not positive, or a parameter of another reducer.
std::unique_ptr<GradientReducer> make_bucketed_reducer(std::vector<at::Tensor> parameters,
                                                       cluster::Communicator& communicator,
                                                       const ReducerOptions& options = {});

}  // namespace medfuse::parallel
