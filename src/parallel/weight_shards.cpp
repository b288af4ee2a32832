#include "src/parallel/weight_shards.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace medfuse::parallel {

namespace {

constexpr std::int64_t alignment = 64;  // elements: kernels want rows of a weight to start where they like it

std::int64_t aligned(std::int64_t elements) { return (elements + alignment - 1) / alignment * alignment; }

/// Elements [begin, end) of x in row-major order, without touching other rows.
at::Tensor elements_of(const at::Tensor& x, std::int64_t begin, std::int64_t end) {
  if (x.is_contiguous() || x.dim() == 0) return x.reshape({-1}).narrow(0, begin, end - begin);
  const std::int64_t row = x.numel() / x.size(0);
  const std::int64_t first = begin / row;
  const at::Tensor rows = x.narrow(0, first, (end - 1) / row + 1 - first);
  return rows.reshape({-1}).narrow(0, begin - first * row, end - begin);
}

/// Gives the memory behind `from` to `to`, which has none; both are whole storages of one size.
void move_memory(const at::Tensor& from, const at::Tensor& to) {
  c10::StorageImpl& source = *from.storage().unsafeGetStorageImpl();
  c10::StorageImpl& target = *to.storage().unsafeGetStorageImpl();
  const std::size_t bytes = source.nbytes();
  target.set_data_ptr_noswap(source.set_data_ptr(c10::DataPtr(nullptr, source.device())));
  target.set_nbytes(bytes);
  source.set_nbytes(0);
}

}  // namespace

WeightShards::WeightShards(std::unique_ptr<cluster::Communicator> all) : all_(std::move(all)) {}

WeightShards::WeightShards(std::unique_ptr<cluster::Communicator> all, std::unique_ptr<cluster::Communicator> some)
    : all_(std::move(all)), some_(std::move(some)), divisible_(true), sharers_(Sharers::some) {}

void WeightShards::adopt(const std::vector<at::Tensor>& frozen, const std::vector<at::Tensor>& trained) {
  const at::NoGradGuard no_grad;
  if (frozen.empty() && trained.empty()) throw std::logic_error("WeightShards: a unit without weights");
  if (divisible_ && !trained.empty()) throw std::logic_error("WeightShards: what is trained cannot be divided anew");
  std::vector<UnitPart> parts;
  Unit unit;
  unit.flats = {make_flat(frozen, nullptr), make_flat(trained, &parts)};
  for (std::size_t i = 0; i < trained.size(); ++i) {
    parts[i].unit = units_.size();
    parts_[trained[i].unsafeGetTensorImpl()] = std::move(parts[i]);
  }
  unit.there = true;
  release(unit);
  units_.push_back(std::move(unit));
}

WeightShards::Flat WeightShards::make_flat(const std::vector<at::Tensor>& tensors, std::vector<UnitPart>* parts) const {
  Flat flat;
  if (tensors.empty()) return flat;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.scalar_type() != tensors[0].scalar_type()) throw std::logic_error("WeightShards: a unit of several types");
    flat.elements += aligned(tensor.numel());
  }
  const std::int64_t each = (flat.elements + group().size() - 1) / group().size();
  const std::int64_t mine = group().rank() * each;
  const auto options = tensors[0].options().requires_grad(false).device(group().device());
  flat.share = at::zeros({each}, options);
  flat.whole = at::empty({each * group().size()}, options);
  std::int64_t place = 0;
  for (const at::Tensor& tensor : tensors) {
    const std::int64_t begin = std::clamp<std::int64_t>(mine - place, 0, tensor.numel());
    const std::int64_t end = std::clamp<std::int64_t>(mine + each - place, 0, tensor.numel());
    const at::Tensor own = flat.share.narrow(0, begin < end ? place + begin - mine : 0, end - begin);
    if (begin < end) own.copy_(elements_of(tensor, begin, end));
    if (parts != nullptr) {
      const bool all = end - begin == tensor.numel();
      parts->push_back({0, place, flat.whole.numel(), {{begin, end}, all ? own.view(tensor.sizes()) : own}});
    }
    at::Tensor handle = tensor;
    handle.set_data(flat.whole.narrow(0, place, tensor.numel()).view(tensor.sizes()));
    place += aligned(tensor.numel());
  }
  return flat;
}

void WeightShards::divide(Sharers sharers) {
  if (!divisible_ || sharers == sharers_) return;
  const at::NoGradGuard no_grad;
  // A rank that shares with all only keeps its part. Where all shared, it takes part in the gathering: others need it.
  const Sharers before = sharers_;
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    sharers_ = before;
    if (before == Sharers::all || some_) fetch(unit, std::nullopt);
    sharers_ = sharers;
    if (!some_) continue;
    for (Flat& flat : units_[unit].flats) {
      if (flat.share.defined()) cut(flat);
    }
  }
  sharers_ = sharers;
  changed();
  spare_ = {};
}

void WeightShards::cut(Flat& flat) const {
  const std::int64_t each = (flat.elements + group().size() - 1) / group().size();
  const std::int64_t mine = std::min(group().rank() * each, flat.elements);
  const std::int64_t length = std::min(each, flat.elements - mine);
  flat.share = at::zeros({each}, flat.share.options());
  flat.share.narrow(0, 0, length).copy_(flat.whole.narrow(0, mine, length));
  // The tensors are views of the storage, so it stays, with memory of another size.
  const at::Tensor old = at::empty({0}, flat.share.options()), next = at::empty({each * group().size()}, flat.share.options());
  move_memory(flat.whole, old);
  move_memory(next, flat.whole);
  flat.whole.set_(flat.whole.storage(), 0, {each * group().size()}, {1});
}

void WeightShards::fetch(std::size_t number, std::optional<std::size_t> next) {
  if (sharers_ == Sharers::some && !some_) throw std::logic_error("WeightShards: this rank does not share yet");
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (i != number && i != next && units_[i].there) release(units_[i]);
  }
  start(units_.at(number));
  if (next) start(units_.at(*next));
  finish(units_[number]);
}

std::optional<UnitPart> WeightShards::part_of(const at::Tensor& tensor) const {
  const auto found = parts_.find(tensor.unsafeGetTensorImpl());
  return found == parts_.end() ? std::nullopt : std::optional(found->second);
}

void WeightShards::changed() {
  for (Unit& unit : units_) {
    if (unit.there) release(unit);
  }
}

void WeightShards::start(Unit& unit) {
  if (unit.there) return;
  for (std::size_t i = 0; i < unit.flats.size(); ++i) {
    Flat& flat = unit.flats[i];
    if (!flat.share.defined()) continue;
    at::Tensor& spare = spare_[i];
    if (!spare.defined() || spare.storage().nbytes() != flat.whole.nbytes()) {
      spare.reset();  // first, or a unit of another size would be a third one in memory
      spare = at::empty({flat.whole.numel()}, flat.share.options());
    }
    move_memory(spare, flat.whole);
    spare.reset();
    flat.work = group().all_gather(flat.whole, flat.share);
  }
  unit.there = true;
}

void WeightShards::finish(Unit& unit) {
  for (Flat& flat : unit.flats) {
    if (flat.work) flat.work->wait();
    flat.work.reset();
  }
}

void WeightShards::release(Unit& unit) {
  finish(unit);
  for (std::size_t i = 0; i < unit.flats.size(); ++i) {
    if (!unit.flats[i].share.defined()) continue;
    spare_[i] = at::empty({0}, unit.flats[i].share.options());
    move_memory(unit.flats[i].whole, spare_[i]);
  }
  unit.there = false;
}

std::int64_t WeightShards::share_bytes() const {
  std::int64_t bytes = 0;
  for (const Unit& unit : units_) {
    for (const Flat& flat : unit.flats) {
      if (flat.share.defined()) bytes += static_cast<std::int64_t>(flat.share.nbytes());
    }
  }
  return bytes;
}

std::int64_t WeightShards::whole_bytes() const {
  std::int64_t bytes = 0;
  for (const Unit& unit : units_) {
    for (const Flat& flat : unit.flats) {
      if (unit.there && flat.share.defined()) bytes += static_cast<std::int64_t>(flat.whole.storage().nbytes());
    }
  }
  return bytes;
}

}  // namespace medfuse::parallel
