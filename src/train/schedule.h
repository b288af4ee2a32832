// The learning rate at a step: linear warm-up, then half a cosine down to a share of the peak.
#pragma once

#include <cstdint>

namespace medfuse::train {

struct ScheduleOptions {
  double peak = 1e-3;
  std::int64_t steps = 1;    ///< length of the stage
  double warmup = 0.1;       ///< share of the steps, in [0, 1]
  double final_rate = 0.05;  ///< rate of the last step as a share of the peak
};

/// Rate of step `step` (0-based). The peak is reached at the last of the ceil(warmup * steps) warm-up steps,
/// peak * final_rate at the last step of all, and it stays there afterwards. Without a decay phase (warmup 1) it ends
/// at the peak. Pure, so a resumed run needs no state. Throws std::logic_error for options out of range.
double learning_rate(const ScheduleOptions& options, std::int64_t step);

}  // namespace medfuse::train
