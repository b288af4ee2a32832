// How well the model of a run does on its validation split, while it trains.
#pragma once

#include <cstdint>

#include "data/packed/reader.h"
#include "src/model/medfuse_model.h"
#include "src/train/ranks.h"
#include "src/train/trainer.h"

namespace medfuse::launch {

/// A function that gives the macro AUROC of the fused model as it is, the same on all ranks. All arguments outlive it. Throws
/// Error(data) if the split has no disease with both classes, so that there is nothing to score.
train::Score validation_score(model::MedfuseModel& model, const data::PackedReader& reader, train::Ranks ranks,
                              std::int64_t micro_batch);

}  // namespace medfuse::launch
