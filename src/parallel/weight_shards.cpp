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

WeightShards::WeightShards(std::unique_ptr<cluster::Communicator> group) : group_(std::move(group)) {}

void WeightShards::adopt(const std::vector<at::Tensor>& weights) {
  const at::NoGradGuard no_grad;
  if (weights.empty()) throw std::logic_error("WeightShards: a unit without weights");
  std::int64_t elements = 0;
  for (const at::Tensor& weight : weights) {
    if (weight.scalar_type() != weights[0].scalar_type()) throw std::logic_error("WeightShards: a unit of several types");
    elements += aligned(weight.numel());
  }
  const std::int64_t each = (elements + group_->size() - 1) / group_->size();
  const std::int64_t mine = group_->rank() * each;
  const auto options = weights[0].options().device(group_->device());
  Unit unit;
  unit.share = at::zeros({each}, options);
  unit.whole = at::empty({each * group_->size()}, options);
  std::int64_t place = 0;
  for (const at::Tensor& weight : weights) {
    const std::int64_t begin = std::clamp<std::int64_t>(mine - place, 0, weight.numel());
    const std::int64_t end = std::clamp<std::int64_t>(mine + each - place, 0, weight.numel());
    if (begin < end) unit.share.narrow(0, place + begin - mine, end - begin).copy_(elements_of(weight, begin, end));
    at::Tensor handle = weight;
    handle.set_data(unit.whole.narrow(0, place, weight.numel()).view(weight.sizes()));
    place += aligned(weight.numel());
  }
  unit.there = true;
  release(unit);
  units_.push_back(std::move(unit));
}

void WeightShards::fetch(std::size_t number, std::optional<std::size_t> next) {
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (i != number && i != next && units_[i].there) release(units_[i]);
  }
  start(units_.at(number));
  if (next) start(units_.at(*next));
  finish(units_[number]);
}

void WeightShards::start(Unit& unit) {
  if (unit.there) return;
  if (!spare_.defined() || spare_.storage().nbytes() != unit.share.nbytes() * static_cast<std::size_t>(group_->size())) {
    spare_ = at::empty({unit.share.numel() * group_->size()}, unit.share.options());
  }
  move_memory(spare_, unit.whole);
  spare_.reset();
  unit.there = true;
  unit.work = group_->all_gather(unit.whole, unit.share);
}

void WeightShards::finish(Unit& unit) {
  if (unit.work) unit.work->wait();
  unit.work.reset();
}

void WeightShards::release(Unit& unit) {
  finish(unit);
  spare_ = at::empty({0}, unit.share.options());
  move_memory(unit.whole, spare_);
  unit.there = false;
}

std::int64_t WeightShards::share_bytes() const {
  std::int64_t bytes = 0;
  for (const Unit& unit : units_) bytes += static_cast<std::int64_t>(unit.share.nbytes());
  return bytes;
}

std::int64_t WeightShards::whole_bytes() const {
  std::int64_t bytes = 0;
  for (const Unit& unit : units_) {
    if (unit.there) bytes += static_cast<std::int64_t>(unit.whole.storage().nbytes());
  }
  return bytes;
}

}  // namespace medfuse::parallel
