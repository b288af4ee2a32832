// The text encoder's weights and adapters on a rank: all of them, or with ZeRO-3 a share of each unit (the embedding, then
// the blocks), of which two at a time are whole (src/parallel/weight_shards.cpp).
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "src/plan/rehearsal.h"
#include "src/plan/text_shape.h"

namespace medfuse::plan {

/// Elements that a tensor takes in the flat tensor of a unit.
std::int64_t padded(std::int64_t elements);

class WeightUnits {
 public:
  WeightUnits(Rehearsal& rehearsal, const Job& job, const TextShape& shape);

  /// Before a unit is used in a forward pass, or a gradient comes back to it. Nothing where the weights are not shared.
  void forward(std::size_t unit);
  void backward(std::size_t unit);
  /// Behind an update of adapters: none is up to date.
  void changed();
  /// Whether ranks share the adapters too. Those of the split layout train them first in one group and then in another.
  bool shares_adapters() const { return shares_adapters_; }

 private:
  /// What is frozen of a unit, or what is trained.
  struct Flat {
    std::int64_t bytes = 0;  // whole
    Held whole;
  };
  struct Unit {
    std::array<Flat, 2> flats;
    bool there = false;
    double ready = 0;
  };
  struct Spare {
    Held held;
    std::int64_t bytes = 0;
  };
  Flat share(Item item, std::int64_t elements, std::int64_t element_bytes);
  void fetch(std::size_t unit, std::optional<std::size_t> next);
  void start(Unit& unit);
  void release(Unit& unit);

  Rehearsal& r_;
  bool shares_;
  bool shares_adapters_;
  std::int64_t ranks_;       // that share: one of the split layout may do so by itself until all do
  std::vector<Held> kept_;   // whole weights, or this rank's shares
  std::vector<Unit> units_;  // empty: not shared
  std::size_t lowest_ = 0;   // that gradients reach
  std::array<Spare, 2> spare_;  // memory of the unit that was released last
};

}  // namespace medfuse::plan
