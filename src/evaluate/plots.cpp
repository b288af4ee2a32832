#include "src/evaluate/plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace medfuse::evaluate {
namespace {

constexpr const char* kGrid = "set grid xtics ytics back lw 0.6 lc rgb '#b08b929c'";
constexpr std::size_t kMostPoints = 160;  // more could not be told apart in so small a plot

std::vector<std::vector<double>> rows(const std::vector<Point>& points) {
  std::vector<std::vector<double>> result;
  for (const Point& p : points) result.push_back({p.x, p.y});
  return result;
}

Series line(const std::vector<Point>& points) {
  return {rows(points), fmt::format("using 1:2 with lines lw 1.8 lc rgb '{}'", kCurveColour)};
}

Series guide(const Point& from, const Point& to) {
  return {rows({from, to}), fmt::format("using 1:2 with lines lw 1 dt 2 lc rgb '{}'", kGuideColour)};
}

Series mark(const Point& at) {
  return {rows({at}), fmt::format("using 1:2 with points pt 7 ps 0.8 lc rgb '{}'", kMarkColour)};
}

/// A plot of shares against shares, with a grid and the same margins everywhere.
Plot unit_square(const std::string& x, const std::string& y) {
  Plot plot;
  plot.settings = {
      "set xrange [0:1]",
      "set yrange [0:1]",
      "set xtics 0,0.25,1 format '%g'",
      "set ytics 0,0.25,1 format '%g'",
      kGrid,
      "set lmargin at screen 0.225",
      "set rmargin at screen 0.965",
      "set tmargin at screen 0.965",
      "set bmargin at screen 0.205",
      fmt::format("set xlabel '{}' offset 0,0.35", x),
      fmt::format("set ylabel '{}' offset 1.3,0", y),
      "set clip one",
  };
  return plot;
}

/// 1, 2 or 5 times a power of ten, the next above `step`.
double round_step(double step) {
  if (!(step > 0)) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step) return factor * power;
  }
  return 10 * power;
}

std::string superscript(int number) {
  static constexpr const char* kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text;
  for (const char c : std::to_string(number)) text += c == '-' ? "⁻" : kDigits[c - '0'];
  return text;
}

/// 95 % interval of a share (Wilson, "Probable inference", JASA 1927).
Interval wilson(double share, double samples) {
  constexpr double z = 1.959963984540054;
  const double centre = (share + z * z / (2 * samples)) / (1 + z * z / samples);
  const double half =
      z / (1 + z * z / samples) * std::sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples));
  return {centre - half, centre + half};
}

}  // namespace

Plot roc_plot(std::span<const Cut> cuts, const DiseaseScores& scores) {
  Plot plot = unit_square("False positive rate", "True positive rate");
  plot.series.push_back(guide({0, 0}, {1, 1}));
  plot.series.push_back(line(thinned(roc_points(cuts), kMostPoints)));
  if (scores.positives && scores.negatives) {
    plot.series.push_back(
        mark({static_cast<double>(scores.false_positives) / static_cast<double>(scores.negatives), scores.recall}));
  }
  return plot;
}

Plot precision_recall_plot(std::span<const Cut> cuts, const DiseaseScores& scores) {
  Plot plot = unit_square("Recall", "Precision");
  const std::int64_t samples = std::max<std::int64_t>(1, scores.positives + scores.negatives);
  const double share = static_cast<double>(scores.positives) / static_cast<double>(samples);
  plot.series.push_back(guide({0, share}, {1, share}));
  plot.series.push_back(line(thinned(precision_recall_points(cuts), kMostPoints)));
  if (scores.true_positives + scores.false_positives > 0 && scores.positives > 0) {
    plot.series.push_back(mark({scores.recall, scores.precision}));
  }
  return plot;
}

Plot calibration_plot(std::span<const CalibrationBin> bins) {
  Plot plot = unit_square("Predicted probability", "Share of positives");
  std::int64_t all = 0;
  for (const CalibrationBin& bin : bins) all += bin.samples;
  Series bars{{}, fmt::format("using 1:2:3 with boxes fs solid noborder lc rgb '#a08b929c'")};
  // Lines, since gnuplot puts white under the points of error bars, which shows on a dark page.
  Series spreads{{}, fmt::format("using 1:2 with lines lw 1 lc rgb '{}'", kCurveColour)};
  std::vector<Point> points;
  for (const CalibrationBin& bin : bins) {
    if (bin.samples == 0) continue;
    const auto samples = static_cast<double>(bin.samples);
    const Interval spread = wilson(bin.positive_share, samples);
    bars.rows.push_back({(bin.low + bin.high) / 2, samples / static_cast<double>(all), 0.8 * (bin.high - bin.low)});
    spreads.rows.insert(spreads.rows.end(),
                        {{bin.mean_probability, spread.low}, {bin.mean_probability, spread.high}, {}});
    points.push_back({bin.mean_probability, bin.positive_share});
  }
  plot.series.push_back(std::move(bars));
  plot.series.push_back(guide({0, 0}, {1, 1}));
  plot.series.push_back(std::move(spreads));
  plot.series.push_back({rows(points), fmt::format("using 1:2 with lines lw 1.4 lc rgb '{}'", kCurveColour)});
  plot.series.push_back({rows(points), fmt::format("using 1:2 with points pt 7 ps 0.55 lc rgb '{}'", kCurveColour)});
  return plot;
}

bool wide_range(const TrainingCurve& curve) {
  double low = INFINITY, high = 0;
  for (const Point& p : curve.points) {
    low = std::min(low, p.y);
    high = std::max(high, p.y);
  }
  return low > 0 && high / low > 30 && curve.name.find("learning_rate") == std::string::npos;
}

Plot training_plot(const TrainingCurve& curve) {
  Plot plot;
  plot.width = 320;
  plot.height = 200;
  plot.settings = {
      kGrid,
      "set lmargin at screen 0.19",
      "set rmargin at screen 0.965",
      "set tmargin at screen 0.95",
      "set bmargin at screen 0.235",
      "set xlabel 'Step' offset 0,0.6",
      "set autoscale xfix",
  };
  const bool logarithmic = wide_range(curve);
  std::vector<Point> points = bucketed(curve.points, kMostPoints);
  double low = INFINITY, high = -INFINITY;
  for (const Point& p : points) {
    low = std::min(low, p.y);
    high = std::max(high, p.y);
  }
  // Small numbers, such as learning rates, read better as multiples of a power of ten.
  const double largest = std::max(std::abs(low), std::abs(high));
  if (!logarithmic && largest > 0 && largest < 0.01) {
    const int power = static_cast<int>(std::floor(std::log10(largest) + 1e-9));
    const double unit = std::pow(10.0, power);
    for (Point& p : points) p.y /= unit;
    low /= unit;
    high /= unit;
    plot.settings.push_back(fmt::format("set ylabel '× 10{}' offset 1.6,0", superscript(power)));
  }
  if (logarithmic) plot.settings.push_back("set logscale y");
  plot.settings.push_back(fmt::format("set xtics {:.7g} format '%.0f'",
                                      std::max(1.0, round_step((points.back().x - points.front().x) / 5))));
  if (!(high > low)) {  // a constant: gnuplot would complain about an empty range
    const double room = high == 0 ? 1 : std::abs(high) / 2;
    plot.settings.push_back(fmt::format("set yrange [{:.7g}:{:.7g}]", low - room, high + room));
  } else if (!logarithmic) {
    plot.settings.push_back(fmt::format("set ytics {:.7g} format '%g'", round_step((high - low) / 4)));
  }
  if (points.size() == 1) {
    plot.settings.push_back(fmt::format("set xrange [{:.0f}:{:.0f}]", points[0].x - 1, points[0].x + 1));
    plot.series.push_back(mark(points[0]));
    return plot;
  }
  if (curve.name.find("learning_rate") != std::string::npos || points.size() < 12) {
    plot.series.push_back(line(points));
    return plot;
  }
  plot.series.push_back(
      {rows(points), fmt::format("using 1:2 with lines lw 0.9 lc rgb '#a0{}'", std::string(kCurveColour).substr(1))});
  std::vector<Point> smooth = points;
  if (logarithmic) {
    for (Point& p : smooth) p.y = std::log(p.y);
  }
  smooth = smoothed(smooth, std::max<std::size_t>(5, points.size() / 10));
  if (logarithmic) {
    for (Point& p : smooth) p.y = std::exp(p.y);
  }
  plot.series.push_back(line(smooth));
  return plot;
}

}  // namespace medfuse::evaluate
