#include "src/evaluate/curves.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <tuple>

namespace medfuse::evaluate {
namespace {

double triangle_area(const Point& a, const Point& b, const Point& c) {
  return std::abs((b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y)) / 2;
}

void require_same_length(std::span<const double> probabilities, std::span<const std::uint8_t> labels) {
  if (probabilities.size() != labels.size()) throw std::logic_error("curves: as many labels as probabilities, please");
}

bool has_positives(std::span<const Cut> cuts) { return !cuts.empty() && cuts.back().true_positives > 0; }
bool has_negatives(std::span<const Cut> cuts) { return !cuts.empty() && cuts.back().false_positives > 0; }

double precision(const Cut& cut) {
  return static_cast<double>(cut.true_positives) / static_cast<double>(cut.true_positives + cut.false_positives);
}

}  // namespace

std::vector<Cut> cuts(std::span<const double> probabilities, std::span<const std::uint8_t> labels) {
  require_same_length(probabilities, labels);
  std::vector<std::pair<double, std::uint8_t>> rows(probabilities.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = {probabilities[i], labels[i]};
  std::sort(rows.begin(), rows.end(), std::greater<>());
  std::vector<Cut> result;
  Cut cut;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    (rows[i].second ? cut.true_positives : cut.false_positives) += 1;
    if (i + 1 == rows.size() || rows[i + 1].first != rows[i].first) {
      cut.score = rows[i].first;
      result.push_back(cut);
    }
  }
  return result;
}

std::optional<double> auroc(std::span<const Cut> cuts) {
  if (!has_positives(cuts) || !has_negatives(cuts)) return std::nullopt;
  double twice_area = 0;  // in pairs of a positive and a negative: exact below 2^53
  Cut before;
  for (const Cut& cut : cuts) {
    twice_area += static_cast<double>(cut.false_positives - before.false_positives) *
                  static_cast<double>(cut.true_positives + before.true_positives);
    before = cut;
  }
  return twice_area / 2 /
         (static_cast<double>(cuts.back().true_positives) * static_cast<double>(cuts.back().false_positives));
}

std::optional<double> average_precision(std::span<const Cut> cuts) {
  if (!has_positives(cuts)) return std::nullopt;
  double sum = 0;
  std::int64_t before = 0;
  for (const Cut& cut : cuts) {
    sum += static_cast<double>(cut.true_positives - before) * precision(cut);
    before = cut.true_positives;
  }
  return sum / static_cast<double>(cuts.back().true_positives);
}

std::vector<Point> roc_points(std::span<const Cut> cuts) {
  if (!has_positives(cuts) || !has_negatives(cuts)) return {};
  std::vector<Point> points = {{0, 0}};
  for (const Cut& cut : cuts) {
    points.push_back({static_cast<double>(cut.false_positives) / static_cast<double>(cuts.back().false_positives),
                      static_cast<double>(cut.true_positives) / static_cast<double>(cuts.back().true_positives)});
  }
  return points;
}

std::vector<Point> precision_recall_points(std::span<const Cut> cuts) {
  if (!has_positives(cuts)) return {};
  std::vector<Point> points;
  double recall = 0;
  for (const Cut& cut : cuts) {
    const double next = static_cast<double>(cut.true_positives) / static_cast<double>(cuts.back().true_positives);
    points.push_back({recall, precision(cut)});
    if (next > recall) points.push_back({next, precision(cut)});
    recall = next;
  }
  return points;
}

std::vector<Point> thinned(std::vector<Point> points, std::size_t limit) {
  if (limit < 3) throw std::logic_error("thinned: a limit of 3 or more points is needed");
  if (points.size() <= limit) return points;
  // A doubly linked list over the points; the queue holds (area, index, version), stale entries are passed over.
  const std::size_t n = points.size();
  std::vector<std::size_t> previous(n), next(n), version(n, 0);
  std::vector<bool> gone(n, false);
  using Entry = std::tuple<double, std::size_t, std::size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  for (std::size_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? 0 : i - 1;
    next[i] = i + 1;
    if (i > 0 && i + 1 < n) queue.emplace(triangle_area(points[i - 1], points[i], points[i + 1]), i, 0);
  }
  std::size_t left = n;
  double reached = 0;  // an area never counts as smaller than one already removed
  while (left > limit) {
    const auto [area, i, at_version] = queue.top();
    queue.pop();
    if (gone[i] || version[i] != at_version) continue;
    reached = std::max(reached, area);
    gone[i] = true;
    --left;
    const std::size_t a = previous[i];
    const std::size_t b = next[i];
    next[a] = b;
    previous[b] = a;
    for (const std::size_t j : {a, b}) {
      if (j == 0 || j == n - 1) continue;
      queue.emplace(std::max(reached, triangle_area(points[previous[j]], points[j], points[next[j]])), j, ++version[j]);
    }
  }
  std::vector<Point> kept;
  kept.reserve(limit);
  for (std::size_t i = 0; i < n; ++i) {
    if (!gone[i]) kept.push_back(points[i]);
  }
  return kept;
}

std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const std::uint8_t> labels, std::size_t bins) {
  require_same_length(probabilities, labels);
  if (bins == 0) throw std::logic_error("calibration_bins: one bin or more is needed");
  std::vector<CalibrationBin> result(bins);
  for (std::size_t b = 0; b < bins; ++b) {
    result[b].low = static_cast<double>(b) / static_cast<double>(bins);
    result[b].high = static_cast<double>(b + 1) / static_cast<double>(bins);
  }
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    const auto b = std::min(bins - 1, static_cast<std::size_t>(probabilities[i] * static_cast<double>(bins)));
    result[b].samples += 1;
    result[b].mean_probability += probabilities[i];
    result[b].positive_share += labels[i];
  }
  for (CalibrationBin& bin : result) {
    if (bin.samples == 0) continue;
    bin.mean_probability /= static_cast<double>(bin.samples);
    bin.positive_share /= static_cast<double>(bin.samples);
  }
  return result;
}

double expected_calibration_error(std::span<const CalibrationBin> bins) {
  double sum = 0;
  std::int64_t samples = 0;
  for (const CalibrationBin& bin : bins) {
    sum += static_cast<double>(bin.samples) * std::abs(bin.mean_probability - bin.positive_share);
    samples += bin.samples;
  }
  return samples ? sum / static_cast<double>(samples) : 0;
}

}  // namespace medfuse::evaluate
