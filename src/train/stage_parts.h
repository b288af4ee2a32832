// What the stages have in common: losses on labels, lengths, schedules, parameter groups.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/packed/reader.h"
#include "src/model/medfuse_model.h"
#include "src/train/adamw.h"
#include "src/train/options.h"
#include "src/train/run_model.h"
#include "src/train/schedule.h"

namespace medfuse::train {

/// Sum of the binary cross-entropies of all decisions [B, K]; divided by the global number of decisions it is a rank's
/// share of the mean.
at::Tensor label_loss_sum(const at::Tensor& logits_BK, const at::Tensor& labels_BK);

/// The loss itself, to the bit, or not a number where it is not finite: then no gradient that it reaches is finite either,
/// and every rank learns of it by the norm of the sums.
at::Tensor guarded(const at::Tensor& loss);

/// Steps of a stage of this length.
std::int64_t stage_steps(const LengthOptions& length, std::int64_t batch, const data::PackedReader& reader);

/// Samples per step of the lab transformer.
std::int64_t lab_batch(const TrainOptions& options);

ScheduleOptions schedule(const TrainOptions& options, double peak, std::int64_t steps);

/// The trainable parameters under these prefixes, as they lie on this rank.
ParameterGroup group(const model::MedfuseModel& model, const std::vector<std::string>& prefixes, double weight_decay,
                     double rate_factor = 1);

}  // namespace medfuse::train
