// metrics.jsonl of a run: one JSON object a line, cut back to the checkpoint when a run resumes. One rank writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/descriptor.h"

namespace medfuse::train {

/// What a step is known by. Numbers that are not finite are written as null.
struct StepMetrics {
  std::string stage;
  std::int64_t step = 0;               ///< steps done in this stage, from 1
  double epoch = 0;
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;                ///< before clipping
  double tokens_per_second = 0;
  double samples_per_second = 0;
  double seconds = 0;                  ///< wall time of the step
  std::vector<std::pair<std::string, double>> more;  ///< what the stage adds, e.g. {"lab_loss", 0.1}
};

class MetricsLog {
 public:
  /// Opens `path` to append, and makes it (mode 0600) where it is missing. Throws Error(data).
  explicit MetricsLog(const std::filesystem::path& path);

  /// Writes one line and hands it to the operating system at once. Throws Error(data), e.g. on a full disk.
  void append(const StepMetrics& metrics);

 private:
  Descriptor file_;
};

/// Drops the lines after `step` steps of `stage`, those of the stages after it in `stages`, and lines that are no whole
/// JSON object (a kill may tear the last one). The rest stays byte for byte. A missing file is left missing.
/// Call it before the log is opened; a run that starts afresh passes its first stage and step 0. Returns how many lines,
/// besides a torn last one, were no record of a step: somebody or something has damaged the file.
std::int64_t cut_back_metrics(const std::filesystem::path& path, const std::vector<std::string>& stages,
                              const std::string& stage, std::int64_t step);

}  // namespace medfuse::train
