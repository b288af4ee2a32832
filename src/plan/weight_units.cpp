#include "src/plan/weight_units.h"

#include <utility>

namespace medfuse::plan {

std::int64_t padded(std::int64_t elements) { return (elements + 63) / 64 * 64; }

WeightUnits::WeightUnits(Rehearsal& rehearsal, const Job& job, const TextShape& shape)
    : r_(rehearsal),
      shares_(job.options.parallel.zero == 3 && job.data() > 1),
      shares_adapters_(shares_ && !job.split()),
      ranks_(shares_ ? rehearsal.ranks(Group::sharing) : 1),
      lowest_(static_cast<std::size_t>(shape.learns ? shape.frozen + 1 : shape.blocks + 1)) {
  std::vector<Unit> units;
  units.push_back({{share(Item::embedding, shape.embedding(), job.compute_bytes()), Flat{}}});
  for (std::int64_t block = 0; block < shape.blocks; ++block) {
    std::int64_t adapters = 0;
    for (const std::int64_t elements : shape.adapters_of(block)) adapters += shares_adapters_ ? padded(elements) : elements;
    Unit unit{{share(Item::weights, shape.block(), job.compute_bytes()), Flat{}}};
    if (shares_adapters_) unit.flats[1] = share(Item::adapters, adapters, job.state_bytes());
    else kept_.push_back(r_.hold(Item::adapters, adapters * job.state_bytes()));
    units.push_back(std::move(unit));
  }
  kept_.push_back(r_.hold(Item::weights, shape.width * job.compute_bytes()));  // the last norm is whole on every rank
  if (!shares_) return;
  units_ = std::move(units);
  // Loading leaves the memory of the last unit for the first that is gathered.
  for (std::size_t i = 0; i < spare_.size(); ++i) {
    const std::int64_t bytes = units_.back().flats[i].bytes;
    if (bytes > 0) spare_[i] = {r_.hold(Item::gathered, bytes), bytes};
  }
}

WeightUnits::Flat WeightUnits::share(Item item, std::int64_t elements, std::int64_t element_bytes) {
  const std::int64_t each = (elements + ranks_ - 1) / ranks_;
  kept_.push_back(r_.hold(item, each * element_bytes));
  return {each * ranks_ * element_bytes, nullptr};
}

void WeightUnits::forward(std::size_t unit) {
  fetch(unit, unit + 1 < units_.size() ? std::optional(unit + 1) : std::nullopt);
}

void WeightUnits::backward(std::size_t unit) {
  fetch(unit, unit > lowest_ ? std::optional(unit - 1) : std::nullopt);
}

void WeightUnits::changed() {
  for (Unit& unit : units_) {
    if (unit.there) release(unit);
  }
}

void WeightUnits::fetch(std::size_t number, std::optional<std::size_t> next) {
  if (units_.empty()) return;
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (i != number && i != next && units_[i].there) release(units_[i]);
  }
  start(units_[number]);
  if (next) start(units_[*next]);
  r_.wait(Flow::weights, units_[number].ready);
}

void WeightUnits::start(Unit& unit) {
  if (unit.there) return;
  for (std::size_t i = 0; i < unit.flats.size(); ++i) {
    Flat& flat = unit.flats[i];
    if (flat.bytes == 0) continue;
    Spare& spare = spare_[i];
    if (!spare.held || spare.bytes != flat.bytes) {
      spare.held.reset();
      spare = {r_.hold(Item::gathered, flat.bytes), flat.bytes};
    }
    flat.whole = std::exchange(spare.held, nullptr);
    unit.ready = r_.start(Group::sharing, Flow::weights, Collective::all_gather, static_cast<double>(flat.bytes));
  }
  unit.there = true;
}

void WeightUnits::release(Unit& unit) {
  for (std::size_t i = 0; i < unit.flats.size(); ++i) {
    Flat& flat = unit.flats[i];
    if (flat.bytes > 0) spare_[i] = {std::exchange(flat.whole, nullptr), flat.bytes};
  }
  unit.there = false;
}

}  // namespace medfuse::plan
