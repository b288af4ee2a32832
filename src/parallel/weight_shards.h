// ZeRO-3 for weights that are not learned (Rajbhandari et al., arXiv 1910.02054; Zhao et al., arXiv 2304.11277): each rank
// keeps a share of every unit, a block of the model, and all of a unit is put together just when it is used.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/communicator.h"

namespace medfuse::parallel {

/// At most two units are whole at a time: the one in use and the next, which travels meanwhile.
class WeightShards {
 public:
  /// Takes a group of its own: other collectives may be under way between two of these, in another order on each rank.
  explicit WeightShards(std::unique_ptr<cluster::Communicator> group);

  /// Takes a unit in; units are numbered in this order. The tensors, of one type, move to the group's device and lose
  /// their content: it is there only after fetch(). Reads of each no more than this rank's share.
  /// Throws std::logic_error for an empty list or several types.
  void adopt(const std::vector<at::Tensor>& weights);

  /// From now on, until the next call, `unit` is there, usable by host code (MPI) or on the current stream (NCCL).
  /// Starts to gather `next`. Collective: all ranks of the group fetch the same units in the same order.
  void fetch(std::size_t unit, std::optional<std::size_t> next);

  /// Bytes of this rank's shares, and of the units that are whole or on their way.
  std::int64_t share_bytes() const;
  std::int64_t whole_bytes() const;

 private:
  struct Unit {
    at::Tensor share;                     // [each]
    at::Tensor whole;                     // [ranks * each]; the weights are views of it. Without memory while not there
    std::unique_ptr<cluster::Work> work;  // while it is being gathered
    bool there = false;                   // or on its way
  };

  void start(Unit& unit);
  void finish(Unit& unit);
  void release(Unit& unit);

  std::unique_ptr<cluster::Communicator> group_;
  std::vector<Unit> units_;
  at::Tensor spare_;  // memory of the unit that was released last: blocks are of one size
};

}  // namespace medfuse::parallel
