// The frozen weights of the text encoder on a rank: all of them, or with ZeRO-3 a share of each unit (the embedding, then
// the blocks), of which two at a time are whole (src/parallel/weight_shards.cpp).
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "src/plan/rehearsal.h"
#include "src/plan/text_shape.h"

namespace medfuse::plan {

class WeightUnits {
 public:
  WeightUnits(Rehearsal& rehearsal, const Job& job, const TextShape& shape);

  /// Before a unit is used in a forward pass, or a gradient comes back to it. Nothing where the weights are not shared.
  void forward(std::size_t unit);
  void backward(std::size_t unit);

 private:
  struct Unit {
    std::int64_t bytes = 0;  // whole
    Held whole;
    double ready = 0;
  };
  void fetch(std::size_t unit, std::optional<std::size_t> next);
  void start(Unit& unit);

  Rehearsal& r_;
  std::vector<Held> kept_;   // whole weights, or this rank's shares
  std::vector<Unit> units_;  // empty: not shared
  std::size_t lowest_ = 0;   // that gradients reach
  Held spare_;               // memory of the unit that was released last
  std::int64_t spare_bytes_ = 0;
};

}  // namespace medfuse::plan
