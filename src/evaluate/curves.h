// The curves behind scores and pictures: how true and false positives grow as the threshold falls; calibration bins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace medfuse::evaluate {

/// How many samples have a probability of at least `score`, by their truth.
struct Cut {
  double score = 0;
  std::int64_t true_positives = 0;
  std::int64_t false_positives = 0;
};

/// One cut per distinct probability, from the highest to the lowest; samples with equal probabilities enter together.
/// The last cut holds all samples. Both spans have the same length N.
std::vector<Cut> cuts(std::span<const double> probabilities, std::span<const std::uint8_t> labels);

/// Area under the ROC curve by trapezoids, which equals the Mann-Whitney statistic with midranks for ties.
/// Undefined where one of the classes is absent.
std::optional<double> auroc(std::span<const Cut> cuts);

/// Average precision: sum over cuts of (recall - previous recall) * precision, without interpolation.
/// Undefined where there is no positive sample.
std::optional<double> average_precision(std::span<const Cut> cuts);

struct Point {
  double x = 0;
  double y = 0;
};

/// (false positive rate, true positive rate) from (0, 0) to (1, 1); empty where auroc() is undefined.
std::vector<Point> roc_points(std::span<const Cut> cuts);

/// (recall, precision), drawn as steps: recall rises at the precision of the cut that brings it, as average_precision()
/// counts. Empty where there is no positive sample.
std::vector<Point> precision_recall_points(std::span<const Cut> cuts);

/// At most `limit` (3 or more) of the points: first and last, and between them those where the curve bends most
/// (Visvalingam and Whyatt, "Line generalisation by repeated elimination of points", 1993).
std::vector<Point> thinned(std::vector<Point> points, std::size_t limit);

/// Samples whose probability falls into one of the equal-width bins of [0, 1].
struct CalibrationBin {
  double low = 0;
  double high = 0;
  std::int64_t samples = 0;
  double mean_probability = 0;   ///< 0 where empty
  double positive_share = 0;     ///< 0 where empty
};

std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const std::uint8_t> labels, std::size_t bins = 10);

/// Expected calibration error: sum over bins of share of samples * |mean probability - share of positives|
/// (Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015).
double expected_calibration_error(std::span<const CalibrationBin> bins);

}  // namespace medfuse::evaluate
