#include "src/plan/weight_units.h"

#include <utility>

namespace medfuse::plan {

WeightUnits::WeightUnits(Rehearsal& rehearsal, const Job& job, const TextShape& shape)
    : r_(rehearsal), lowest_(static_cast<std::size_t>(shape.learns ? shape.frozen + 1 : shape.blocks + 1)) {
  const std::int64_t ranks = job.data();
  const bool shared = job.options.parallel.zero == 3 && ranks > 1;
  const auto add = [&](Item item, std::int64_t elements) {
    const std::int64_t each = shared ? (elements + ranks - 1) / ranks : elements;
    kept_.push_back(r_.hold(item, each * job.compute_bytes()));
    if (shared) units_.push_back({each * ranks * job.compute_bytes(), nullptr, 0});
  };
  add(Item::embedding, shape.embedding());
  for (std::int64_t block = 0; block < shape.blocks; ++block) add(Item::weights, shape.block());
  kept_.push_back(r_.hold(Item::weights, shape.width * job.compute_bytes()));  // the last norm is whole on every rank
}

void WeightUnits::forward(std::size_t unit) {
  fetch(unit, unit + 1 < units_.size() ? std::optional(unit + 1) : std::nullopt);
}

void WeightUnits::backward(std::size_t unit) {
  fetch(unit, unit > lowest_ ? std::optional(unit - 1) : std::nullopt);
}

void WeightUnits::fetch(std::size_t number, std::optional<std::size_t> next) {
  if (units_.empty()) return;
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (i == number || i == next || !units_[i].whole) continue;
    spare_ = std::exchange(units_[i].whole, nullptr);
    spare_bytes_ = units_[i].bytes;
  }
  start(units_[number]);
  if (next) start(units_[*next]);
  r_.wait(Flow::weights, units_[number].ready);
}

void WeightUnits::start(Unit& unit) {
  if (unit.whole) return;
  if (!spare_ || spare_bytes_ != unit.bytes) spare_ = r_.hold(Item::gathered, unit.bytes);
  unit.whole = std::exchange(spare_, nullptr);
  unit.ready = r_.start(Flow::weights, Collective::all_gather, static_cast<double>(unit.bytes));
}

}  // namespace medfuse::plan
