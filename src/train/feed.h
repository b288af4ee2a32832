// The training samples of one task, step by step: which ones the global batch takes, and which of those are this rank's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch/deal.h"
#include "data/batch/order.h"
#include "data/packed/reader.h"

namespace medfuse::train {

/// Throws Error(data) when the training split is empty or holds fewer samples than there are ranks.
void check_training_samples(const data::PackedReader& reader, int ranks);

class Feed {
 public:
  /// The training split of `reader`, in the order that (seed, stage) gives. This rank is part `rank` of `ranks`.
  /// Throws as check_training_samples() does.
  Feed(const data::PackedReader& reader, std::uint64_t seed, const std::string& stage, std::int64_t batch,
       std::int64_t micro_batch, int rank, int ranks);

  /// This rank's micro-batches of a global step; empty when there are more ranks than samples in the batch.
  /// Draw::index is the sample's index in the reader.
  std::vector<std::vector<data::Draw>> micro_batches(std::int64_t step);

  /// Micro-batches of the rank that has most, in every step.
  std::int64_t passes() const;

  std::int64_t batch() const { return batch_; }
  std::int64_t samples() const { return stream_.size(); }

 private:
  std::vector<std::int64_t> indices_;  // of the training split, in the reader
  std::vector<std::int32_t> lengths_;  // of the same samples
  data::SampleStream stream_;
  std::int64_t batch_;
  std::int64_t micro_batch_;
  int rank_;
  int ranks_;
};

}  // namespace medfuse::train
