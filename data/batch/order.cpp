#include "data/batch/order.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "base/random.h"

namespace medfuse::data {

SampleStream::SampleStream(std::vector<std::int64_t> ids, std::uint64_t seed, std::uint64_t stage)
    : ids_(std::move(ids)), seed_(seed), stage_(stage) {
  if (ids_.empty()) throw std::logic_error("SampleStream: no samples");
  std::vector<std::int64_t> sorted = ids_;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    throw std::logic_error("SampleStream: a sample id is listed twice");
  }
}

void SampleStream::order(std::int64_t epoch) {
  if (epoch == ordered_epoch_) return;
  std::vector<std::uint64_t> keys(ids_.size());
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    keys[i] = key({seed_, stage_, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(ids_[i])});
  }
  order_.resize(ids_.size());
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
  std::sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    const auto i = static_cast<std::size_t>(a), j = static_cast<std::size_t>(b);
    return std::pair(keys[i], ids_[i]) < std::pair(keys[j], ids_[j]);
  });
  ordered_epoch_ = epoch;
}

Draw SampleStream::at(std::int64_t position) {
  if (position < 0) throw std::logic_error("SampleStream: negative position");
  const std::int64_t epoch = position / size();
  order(epoch);
  return {order_[static_cast<std::size_t>(position % size())], epoch};
}

std::vector<Draw> SampleStream::step(std::int64_t step, std::int64_t batch) {
  if (batch < 1) throw std::logic_error("SampleStream: a batch holds at least one sample");
  std::vector<Draw> draws;
  draws.reserve(static_cast<std::size_t>(batch));
  for (std::int64_t i = 0; i < batch; ++i) draws.push_back(at(step * batch + i));
  return draws;
}

}  // namespace medfuse::data
