#include "src/train/stage_parts.h"

#include <algorithm>
#include <cmath>

namespace medfuse::train {

at::Tensor label_loss_sum(const at::Tensor& logits_BK, const at::Tensor& labels_BK) {
  return at::binary_cross_entropy_with_logits(logits_BK, labels_BK, {}, {}, at::Reduction::Sum);
}

at::Tensor guarded(const at::Tensor& loss) {
  const at::Tensor value = loss.detach();
  return loss * (value - value + 1);
}

std::int64_t stage_steps(const LengthOptions& length, std::int64_t batch, const data::PackedReader& reader) {
  if (length.steps > 0) return length.steps;
  const auto samples = static_cast<double>(reader.indices(data::Split::train).size());
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(length.epochs * samples / static_cast<double>(batch))));
}

std::int64_t lab_batch(const TrainOptions& options) {
  return options.encoders.lab_batch > 0 ? options.encoders.lab_batch : options.batch;
}

ScheduleOptions schedule(const TrainOptions& options, double peak, std::int64_t steps) {
  return {peak, steps, options.warmup, options.final_rate};
}

ParameterGroup group(const model::MedfuseModel& model, const std::vector<std::string>& prefixes, double weight_decay,
                     double rate_factor) {
  return {trainable_parts(model, prefixes), rate_factor, weight_decay};
}

}  // namespace medfuse::train
