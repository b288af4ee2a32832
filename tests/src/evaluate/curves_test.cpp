#include "src/evaluate/curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace medfuse::evaluate {
namespace {

const std::vector<double> kScores = {0.9, 0.4, 0.4, 0.1, 0.4, 0.9};
const std::vector<std::uint8_t> kLabels = {1, 0, 1, 0, 0, 1};

TEST(Curves, EqualProbabilitiesEnterTogether) {
  const auto all = cuts(kScores, kLabels);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].true_positives, 2);
  EXPECT_EQ(all[0].false_positives, 0);
  EXPECT_EQ(all[1].score, 0.4);
  EXPECT_EQ(all[1].true_positives, 3);
  EXPECT_EQ(all[1].false_positives, 2);
  EXPECT_EQ(all[2].false_positives, 3);
}

TEST(Curves, AurocCountsPairsWithTiesOneHalf) {
  // The definition itself: all pairs of a positive and a negative.
  std::vector<double> scores;
  std::vector<std::uint8_t> labels;
  for (std::uint64_t i = 0; i < 200; ++i) {
    labels.push_back(uniform(key({i, 0})) < 0.3);
    scores.push_back(std::floor(8 * (0.7 * uniform(key({i, 1})) + 0.3 * labels.back())) / 8);
  }
  double won = 0, pairs = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    for (std::size_t j = 0; j < 200; ++j) {
      if (!labels[i] || labels[j]) continue;
      pairs += 1;
      won += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  EXPECT_NEAR(*auroc(cuts(scores, labels)), won / pairs, 1e-14);
}

TEST(Curves, UndefinedWithoutBothClasses) {
  const std::vector<double> scores = {0.2, 0.8};
  EXPECT_FALSE(auroc(cuts(scores, std::vector<std::uint8_t>{0, 0})));
  EXPECT_FALSE(auroc(cuts(scores, std::vector<std::uint8_t>{1, 1})));
  EXPECT_FALSE(average_precision(cuts(scores, std::vector<std::uint8_t>{0, 0})));
  EXPECT_EQ(*average_precision(cuts(scores, std::vector<std::uint8_t>{1, 1})), 1);
  EXPECT_TRUE(roc_points(cuts(scores, std::vector<std::uint8_t>{1, 1})).empty());
  EXPECT_TRUE(precision_recall_points(cuts(scores, std::vector<std::uint8_t>{0, 0})).empty());
  EXPECT_FALSE(auroc({}));
}

TEST(Curves, PointsRunFromCornerToCorner) {
  const auto roc = roc_points(cuts(kScores, kLabels));
  ASSERT_EQ(roc.size(), 4u);
  EXPECT_EQ(roc[1].y, 2.0 / 3);
  EXPECT_EQ(roc.back().x, 1);
  EXPECT_EQ(roc.back().y, 1);
  // Recall rises at the precision of its own cut: the area under these steps is the average precision.
  const auto steps = precision_recall_points(cuts(kScores, kLabels));
  double area = 0;
  for (std::size_t i = 1; i < steps.size(); ++i) {
    area += (steps[i].x - steps[i - 1].x) * (steps[i].y + steps[i - 1].y) / 2;
  }
  EXPECT_NEAR(area, *average_precision(cuts(kScores, kLabels)), 1e-15);
}

TEST(Curves, ThinningKeepsEndsAndBends) {
  std::vector<Point> points;
  for (int i = 0; i <= 1000; ++i) points.push_back({i / 1000.0, i < 300 ? 0.0 : (i - 300) / 700.0});
  const auto kept = thinned(points, 3);
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[0].x, 0);
  EXPECT_NEAR(kept[1].x, 0.3, 0.002);
  EXPECT_EQ(kept[2].x, 1);
  EXPECT_EQ(thinned(points, 5000).size(), 1001u);
  EXPECT_THROW(thinned(points, 2), std::logic_error);
}

TEST(Curves, CalibrationBinsHoldBothEnds) {
  const std::vector<double> scores = {0, 0.05, 0.95, 1};
  const std::vector<std::uint8_t> labels = {0, 1, 1, 1};
  const auto bins = calibration_bins(scores, labels, 10);
  EXPECT_EQ(bins.front().samples, 2);
  EXPECT_EQ(bins.front().positive_share, 0.5);
  EXPECT_EQ(bins.back().samples, 2);
  EXPECT_DOUBLE_EQ(bins.back().mean_probability, 0.975);
  EXPECT_DOUBLE_EQ(expected_calibration_error(bins), 0.5 * (0.5 - 0.025) + 0.5 * (1 - 0.975));
}

}  // namespace
}  // namespace medfuse::evaluate
