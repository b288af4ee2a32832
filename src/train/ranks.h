// The ranks of a run, as training code sees them: groups for host tensors and for those of the device (the same on a
// CPU). Nothing here knows about MPI or NCCL.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/communicator.h"
#include "src/checkpoint/team.h"
#include "src/model/tensor_parallel.h"
#include "src/model/weight_store.h"

namespace medfuse::parallel {
class WeightShards;
}

namespace medfuse::train {

/// Split layout of the encoder stage: some ranks fine-tune the text encoder while the others pretrain the lab transformer.
struct SplitTask {
  cluster::Communicator& host;    ///< those that divide the samples of this rank's encoder, host tensors
  cluster::Communicator& device;  ///< the same, device tensors
  int first_lab;                  ///< from this rank of the data dimension on it is the lab transformer
};

/// Groups of a mesh; those of the data dimension divide the samples, and their sums make the loss and its gradient.
struct Ranks {
  /// Data parallelism over all ranks.
  Ranks(cluster::Communicator& all_host, cluster::Communicator& all_device)
      : host(all_host), device(all_device), world(all_host) {}
  /// `model_host`, `model_device`: those that hold one model together.
  Ranks(cluster::Communicator& data_host, cluster::Communicator& data_device, cluster::Communicator& all_host,
        cluster::Communicator& model_host, cluster::Communicator& model_device)
      : host(data_host), device(data_device), world(all_host), tensor_host(&model_host), tensor_device(&model_device) {}

  cluster::Communicator& host;    ///< data dimension, host tensors
  cluster::Communicator& device;  ///< data dimension, device tensors
  cluster::Communicator& world;   ///< all ranks, host tensors: checkpoints and agreement
  cluster::Communicator* tensor_host = nullptr;    ///< tensor dimension, host tensors; null: each rank is one by itself
  cluster::Communicator* tensor_device = nullptr;  ///< the same, device tensors
  std::optional<SplitTask> split = {};  ///< on a mesh; nothing: each rank trains both encoders
  /// The text encoder's weights, where ranks of a data group share them (ZeRO-3); null: each has all.
  std::shared_ptr<parallel::WeightShards> shards = {};

  int rank() const { return host.rank(); }  ///< which part of the samples
  int size() const { return host.size(); }
  bool trains_text() const { return !split || rank() < split->first_lab; }  ///< in the encoder stage
  bool trains_labs() const { return !split || rank() >= split->first_lab; }
};

/// Elementwise over the ranks, in float64. Collective.
std::vector<double> sum_over_ranks(cluster::Communicator& host, const std::vector<double>& values);

/// The ranks of `group` as those that hold one model together, and with `sequence` also share the tokens between its
/// projections. `group` must outlive it.
model::TensorParallelPtr tensor_parallel(cluster::Communicator& group, bool sequence = false);

/// ZeRO-3: an empty store for a data group. In the split layout those that train the text encoder share it until all do
/// (WeightShards::divide). Null for a single rank. Collective.
std::shared_ptr<parallel::WeightShards> make_shards(const Ranks& ranks);
/// The same as a model sees it; null where there is none. In the split layout only what is frozen is shared: its ranks
/// train the text encoder by themselves and later with the others, so it would have to be divided anew in between.
model::WeightStorePtr weight_store(const Ranks& ranks);

/// What checkpoints need, made of collectives on bytes. `host` must outlive it.
checkpoint::Team team_of(cluster::Communicator& host);

}  // namespace medfuse::train
