// ZeRO-3 (Rajbhandari et al., arXiv 1910.02054; Zhao et al., arXiv 2304.11277): each rank keeps a share of every unit, a
// block of the model, and all of a unit is put together just when it is used. What is frozen and what is trained of a unit
// lie apart, in types of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/communicator.h"
#include "src/parallel/element_range.h"

namespace medfuse::parallel {

enum class Sharers { some, all };

/// At most two units are whole at a time: the one in use and the next, which travels meanwhile.
class WeightShards {
 public:
  /// Takes groups of its own: other collectives may be under way between two of these, in another order on each rank.
  /// All ranks of the group share.
  explicit WeightShards(std::unique_ptr<cluster::Communicator> all);
  /// At first only some of them do, and use the weights: `some`, null on the others, which keep what they will need of
  /// all. Then nothing that is trained can be adopted.
  WeightShards(std::unique_ptr<cluster::Communicator> all, std::unique_ptr<cluster::Communicator> some);

  /// Takes a unit in; units are numbered in this order. The tensors, of one type in each list, move to the group's device
  /// and lose their content: it is there only after fetch(). Reads of each no more than this rank's share.
  /// Throws std::logic_error for two empty lists or several types in one.
  void adopt(const std::vector<at::Tensor>& frozen, const std::vector<at::Tensor>& trained = {});

  /// Who shares from now on; where it has always been all, nothing changes. Each unit is gathered once among those who
  /// shared before. Collective over all.
  void divide(Sharers sharers);

  /// From now on, until the next call, `unit` is there, usable by host code (MPI) or on the current stream (NCCL).
  /// Starts to gather `next`. Collective: all ranks that share fetch the same units in the same order.
  /// Throws std::logic_error on a rank that does not.
  void fetch(std::size_t unit, std::optional<std::size_t> next);

  /// Of a tensor that was adopted as trained, where it lies between its uses; nothing for others.
  std::optional<UnitPart> part_of(const at::Tensor& tensor) const;
  /// After this rank's parts were written to: what is whole now is out of date, and will be gathered anew.
  void changed();

  /// Bytes of this rank's shares, and of the units that are whole or on their way.
  std::int64_t share_bytes() const;
  std::int64_t whole_bytes() const;

 private:
  /// Tensors of one type, end to end.
  struct Flat {
    at::Tensor share;                     // [each]; undefined: of no tensors
    at::Tensor whole;                     // [ranks * each]; the tensors are views of it. Without memory while not there
    std::int64_t elements = 0;            // that the tensors take of it
    std::unique_ptr<cluster::Work> work;  // while it is being gathered
  };
  struct Unit {
    std::array<Flat, 2> flats;  // frozen, trained
    bool there = false;         // or on its way
  };

  /// Whose shares make the whole.
  cluster::Communicator& group() const { return sharers_ == Sharers::some && some_ ? *some_ : *all_; }
  Flat make_flat(const std::vector<at::Tensor>& tensors, std::vector<UnitPart>* parts) const;
  void cut(Flat& flat) const;
  void start(Unit& unit);
  void finish(Unit& unit);
  void release(Unit& unit);

  std::unique_ptr<cluster::Communicator> all_, some_;
  bool divisible_ = false;  // some or all may share
  Sharers sharers_ = Sharers::all;
  std::vector<Unit> units_;
  std::map<const c10::TensorImpl*, UnitPart> parts_;  // of the trained tensors
  std::array<at::Tensor, 2> spare_;  // memory of the unit that was released last: blocks are of one size
};

}  // namespace medfuse::parallel
