#include "src/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace medfuse::train {

double learning_rate(const ScheduleOptions& options, std::int64_t step) {
  if (options.steps < 1 || !(options.warmup >= 0 && options.warmup <= 1) || !(options.final_rate >= 0) || step < 0) {
    throw std::logic_error("learning_rate: steps >= 1, warmup in [0, 1], final_rate >= 0 and step >= 0 are needed");
  }
  const auto warmup_steps = static_cast<std::int64_t>(std::ceil(options.warmup * static_cast<double>(options.steps)));
  if (step < warmup_steps) return options.peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const std::int64_t decay_steps = options.steps - warmup_steps;
  if (decay_steps == 0) return options.peak;
  const double progress =
      std::min(1.0, static_cast<double>(step + 1 - warmup_steps) / static_cast<double>(decay_steps));
  const double share = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return options.peak * (options.final_rate + (1.0 - options.final_rate) * share);
}

}  // namespace medfuse::train
