// Sums the ranks' gradients, so that each rank steps with the gradient of the global loss. A rank updates all
// parameters, or (sharded_reducer.h) its share of their elements.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/communicator.h"
#include "src/parallel/element_range.h"

namespace medfuse::parallel {

/// Losses are local sums over global counts, so gradients are summed and never divided by the number of ranks.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// Before the backward pass of a micro-batch; `last`: of the step's last. All ranks call it equally often in a step,
  /// also in place of a pass for which they have no sample. Before the last one (with Sharded::gradients before each) a
  /// gradient that has been accumulated may be sent from now on, while the pass still computes others. Until the next
  /// prepare() or finish() that pass is the only one to touch the gradients, and nothing else may use the communicator:
  /// ranks without a sample would meet in another order. Without prepare() nothing is sent before finish().
  virtual void prepare(bool last) = 0;
  /// After that backward pass. Collective. On return gradients() are the sums over the ranks, zero where no rank had a
  /// gradient. Throws Error(communication) if a peer is gone.
  virtual void finish() = 0;

  /// What this rank updates of each parameter of the list.
  virtual std::vector<OwnedPart> owned() const = 0;
  /// Between finish() and drop_gradients(): of each parameter the gradient of the owned elements, in its own shape
  /// where that is all of them, else flat. They may share memory.
  virtual std::vector<at::Tensor> gradients() const = 0;
  /// Adds up what each owner has: sums over owned elements become sums over all, the same bits on every rank.
  /// Collective if ranks own different ones.
  virtual double sum_over_owners(double value) = 0;
  /// Once the owned elements of the parameters are updated: now every rank has all, or gets them when it next fetches
  /// their unit. Collective if ranks own different ones.
  virtual void share_parameters() = 0;
  /// The step is done with its gradients.
  virtual void drop_gradients() = 0;
};

class WeightShards;

struct ReducerOptions {
  double bucket_mib = 32;  ///< gradients travel in flat buckets of at most about this size (flat_buckets.h)
  /// Element type on the wire and of the sum; none: the gradient's own. bf16 and f16 are summed in f32, rounded once.
  std::optional<at::ScalarType> dtype;
  /// Where parameters lie that are whole only while they are in use; null: all are whole at all times.
  WeightShards* shards = nullptr;
};

/// Buckets from the end of the list to its front (see flat_buckets.h), each started when the backward pass has
/// completed it and all before it. The list must be the same on all ranks (shapes, types, order) and should be in the
/// order of the forward pass; gradients are dense and of the parameter's type. `communicator` must outlive the reducer,
/// the parameters may; they carry its hooks while it lives, so a parameter belongs to one reducer at a time.
/// Throws std::logic_error for an empty list, a bucket size that is not positive, or a parameter of another reducer.
/// This rank updates everything: gradients() are the parameters' own (Tensor::grad()).
std::unique_ptr<GradientReducer> make_bucketed_reducer(std::vector<at::Tensor> parameters,
                                                       cluster::Communicator& communicator,
                                                       const ReducerOptions& options = {});

}  // namespace medfuse::parallel
