#include "src/train/feed.h"

#include "base/error.h"
#include "base/random.h"

namespace medfuse::train {

namespace {

std::vector<std::int64_t> training_ids(const data::PackedReader& reader, int ranks) {
  check_training_samples(reader, ranks);
  std::vector<std::int64_t> ids;
  for (const auto index : reader.indices(data::Split::train)) ids.push_back(reader.admissions()[index]);
  return ids;
}

}  // namespace

void check_training_samples(const data::PackedReader& reader, int ranks) {
  const auto samples = std::ssize(reader.indices(data::Split::train));
  if (samples == 0) data_error("data.path {}: the training split is empty; pack data with more patients", reader.folder().string());
  if (samples < ranks) {
    data_error("data.path {}: {} training samples for {} ranks; start at most {} ranks, or pack more data",
               reader.folder().string(), samples, ranks, samples);
  }
}

Feed::Feed(const data::PackedReader& reader, std::uint64_t seed, const std::string& stage, std::int64_t batch,
           std::int64_t micro_batch, int rank, int ranks)
    : indices_(reader.indices(data::Split::train)),
      stream_(training_ids(reader, ranks), seed, name_counter(stage)),
      batch_(batch),
      micro_batch_(micro_batch),
      rank_(rank),
      ranks_(ranks) {
  for (const auto index : indices_) lengths_.push_back(reader.lengths()[index]);
}

std::vector<std::vector<data::Draw>> Feed::micro_batches(std::int64_t step) {
  auto mine = data::micro_batches(stream_.step(step, batch_), rank_, ranks_, micro_batch_, lengths_);
  for (auto& micro_batch : mine) {
    for (auto& draw : micro_batch) draw.index = indices_[draw.index];
  }
  return mine;
}

std::int64_t Feed::passes() const {
  const std::int64_t samples = (batch_ + ranks_ - 1) / ranks_;
  return (samples + micro_batch_ - 1) / micro_batch_;
}

}  // namespace medfuse::train
