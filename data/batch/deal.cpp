#include "data/batch/deal.h"

#include <algorithm>
#include <stdexcept>
#include <tuple>

namespace medfuse::data {

std::vector<std::vector<Draw>> micro_batches(std::vector<Draw> batch, int part, int parts, std::int64_t micro_batch,
                                             std::span<const std::int32_t> lengths) {
  if (parts < 1 || part < 0 || part >= parts) throw std::logic_error("micro_batches: part out of range");
  if (micro_batch < 1) throw std::logic_error("micro_batches: a micro-batch holds at least one sample");
  for (const Draw& draw : batch) {
    if (draw.index < 0 || draw.index >= static_cast<std::int64_t>(lengths.size())) {
      throw std::logic_error("micro_batches: sample index out of range");
    }
  }
  auto length = [&](const Draw& draw) { return lengths[static_cast<std::size_t>(draw.index)]; };
  std::sort(batch.begin(), batch.end(), [&](const Draw& a, const Draw& b) {
    return std::tuple(-std::int64_t{length(a)}, a.index, a.epoch) <
           std::tuple(-std::int64_t{length(b)}, b.index, b.epoch);
  });

  // The longest go to parts 0 .. n-1, the next ones to n-1 .. 0, and so on: sums stay close, counts differ by one.
  std::vector<std::vector<Draw>> micro;
  const auto n = static_cast<std::size_t>(parts);
  for (std::size_t round = 0; round * n < batch.size(); ++round) {
    const std::size_t turn = round % 2 == 0 ? static_cast<std::size_t>(part) : n - 1 - static_cast<std::size_t>(part);
    const std::size_t next = round * n + turn;
    if (next >= batch.size()) continue;
    if (micro.empty() || static_cast<std::int64_t>(micro.back().size()) == micro_batch) micro.emplace_back();
    micro.back().push_back(batch[next]);
  }
  return micro;
}

}  // namespace medfuse::data
