#include "src/evaluate/training_curves.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace medfuse::evaluate {

std::vector<TrainingCurve> read_training_curves(const std::filesystem::path& metrics) {
  std::vector<TrainingCurve> curves;
  std::ifstream in(metrics);
  std::string line;
  while (std::getline(in, line)) {
    const auto json = nlohmann::ordered_json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("stage") || !json["stage"].is_string() || !json.contains("step") ||
        !json["step"].is_number()) {
      continue;
    }
    const auto stage = json["stage"].get<std::string>();
    const auto step = json["step"].get<double>();
    for (const auto& [name, value] : json.items()) {
      if (name == "step" || name == "epoch" || name == "seconds" || !value.is_number()) continue;
      auto curve = std::find_if(curves.begin(), curves.end(),
                                [&](const TrainingCurve& c) { return c.stage == stage && c.name == name; });
      if (curve == curves.end()) curve = curves.insert(curves.end(), TrainingCurve{stage, name, {}});
      curve->points.push_back({step, value.get<double>()});
    }
  }
  return curves;
}

std::vector<Point> bucketed(const std::vector<Point>& points, std::size_t limit) {
  if (points.size() <= limit) return points;
  std::vector<Point> result;
  for (std::size_t b = 0; b < limit; ++b) {
    const std::size_t begin = b * points.size() / limit;
    const std::size_t end = (b + 1) * points.size() / limit;
    Point mean;
    for (std::size_t i = begin; i < end; ++i) {
      mean.x += points[i].x;
      mean.y += points[i].y;
    }
    result.push_back({mean.x / static_cast<double>(end - begin), mean.y / static_cast<double>(end - begin)});
  }
  return result;
}

std::vector<Point> smoothed(const std::vector<Point>& points, std::size_t window) {
  const std::size_t n = points.size();
  window = std::min(std::max<std::size_t>(window, 1), n);
  std::vector<Point> result;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t begin = std::min(i - std::min(i, window / 2), n - window);
    double mean_x = 0, mean_y = 0;
    for (std::size_t j = begin; j < begin + window; ++j) {
      mean_x += points[j].x / static_cast<double>(window);
      mean_y += points[j].y / static_cast<double>(window);
    }
    double xx = 0, xy = 0;
    for (std::size_t j = begin; j < begin + window; ++j) {
      xx += (points[j].x - mean_x) * (points[j].x - mean_x);
      xy += (points[j].x - mean_x) * (points[j].y - mean_y);
    }
    result.push_back({points[i].x, mean_y + (xx > 0 ? xy / xx * (points[i].x - mean_x) : 0)});
  }
  return result;
}

}  // namespace medfuse::evaluate
