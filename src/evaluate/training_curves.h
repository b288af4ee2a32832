// The curves of a training run, read from its metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/evaluate/curves.h"

namespace medfuse::evaluate {

/// One figure of one stage over its steps: x is the step, y the value.
struct TrainingCurve {
  std::string stage;
  std::string name;             ///< key in metrics.jsonl, e.g. "loss"
  std::vector<Point> points;
};

/// All numeric figures by stage in order of appearance, without step, epoch and seconds. Lines that are no JSON object
/// with a stage and a step (a torn last line) and nulls are passed over. Empty where there is no such file.
std::vector<TrainingCurve> read_training_curves(const std::filesystem::path& metrics);

/// At most `limit` points: means over equal stretches.
std::vector<Point> bucketed(const std::vector<Point>& points, std::size_t limit);

/// Each point on the least-squares line through its `window` nearest neighbours: a running mean that neither lags on a
/// slope nor bends at the ends.
std::vector<Point> smoothed(const std::vector<Point>& points, std::size_t window);

}  // namespace medfuse::evaluate
