#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "src/evaluate/scores.h"
#include "tests/src/evaluate/synthetic.h"

namespace medfuse::evaluate {
namespace {

/// The same resamples, made as rows and scored by score().
Scores by_rows(const Predictions& p, const std::vector<double>& thresholds, std::uint64_t seed,
               std::uint64_t resample) {
  std::vector<std::int64_t> patients = p.patients;
  std::sort(patients.begin(), patients.end());
  patients.erase(std::unique(patients.begin(), patients.end()), patients.end());
  const std::size_t k = p.diseases.size();
  Predictions drawn;
  drawn.diseases = p.diseases;
  for (std::size_t i = 0; i < patients.size(); ++i) {
    const double u = uniform(key({seed, name_counter("evaluate.bootstrap"), resample, i}));
    const std::int64_t patient = patients[static_cast<std::size_t>(u * static_cast<double>(patients.size()))];
    for (std::size_t n = 0; n < p.size(); ++n) {
      if (p.patients[n] != patient) continue;
      drawn.admissions.push_back(p.admissions[n]);
      for (std::size_t d = 0; d < k; ++d) {
        drawn.probabilities.push_back(p.probabilities[n * k + d]);
        drawn.labels.push_back(p.labels[n * k + d]);
      }
    }
  }
  return score(drawn, thresholds);
}

TEST(Bootstrap, EqualsResampledRows) {
  Predictions p = testing::synthetic(60, 3);
  for (double& probability : p.probabilities) probability = std::round(probability * 20) / 20;  // ties
  const std::vector<double> thresholds = {0.3, 0.25, 0.4};
  Scores s = score(p, thresholds);
  add_bootstrap_intervals(s, p, 5, 1);  // one resample: both ends are its scores
  const Scores expected = by_rows(p, thresholds, 5, 0);
  EXPECT_NEAR(s.macro_f1_interval->low, expected.macro_f1, 1e-14);
  EXPECT_NEAR(s.macro_f1_interval->high, expected.macro_f1, 1e-14);
  EXPECT_NEAR(s.macro_auroc_interval->low, *expected.macro_auroc, 1e-14);
}

TEST(Bootstrap, IsOfTheSizeThatTheoryGives) {
  // AUROC of one disease: Hanley and McNeil's standard error, 1982.
  const Predictions p = [] {
    Predictions made = testing::synthetic(800, 1);
    for (std::size_t n = 0; n < made.size(); ++n) made.patients[n] = static_cast<std::int64_t>(n);
    return made;
  }();
  Scores s = score(p, choose_thresholds(p));
  add_bootstrap_intervals(s, p, 1);
  const double a = *s.macro_auroc;
  const double m = static_cast<double>(s.diseases[0].positives), n = static_cast<double>(s.diseases[0].negatives);
  const double q1 = a / (2 - a), q2 = 2 * a * a / (1 + a);
  const double error = std::sqrt((a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n));
  EXPECT_NEAR(s.macro_auroc_interval->high - s.macro_auroc_interval->low, 2 * 1.96 * error, 0.25 * 2 * 1.96 * error);
  EXPECT_LT(s.macro_auroc_interval->low, a);
  EXPECT_GT(s.macro_auroc_interval->high, a);
  EXPECT_LT(s.macro_f1_interval->low, s.macro_f1);
  EXPECT_GT(s.macro_f1_interval->high, s.macro_f1);
}

TEST(Bootstrap, DependsOnSeedAndNotOnOrder) {
  const Predictions p = testing::synthetic(200, 2);
  Predictions reversed = p;
  std::reverse(reversed.patients.begin(), reversed.patients.end());
  for (std::size_t n = 0; n < p.size(); ++n) {
    for (std::size_t d = 0; d < 2; ++d) {
      reversed.probabilities[(p.size() - 1 - n) * 2 + d] = p.probabilities[n * 2 + d];
      reversed.labels[(p.size() - 1 - n) * 2 + d] = p.labels[n * 2 + d];
    }
  }
  const auto interval = [](const Predictions& of, std::uint64_t seed) {
    Scores s = score(of, {0.3, 0.3});
    add_bootstrap_intervals(s, of, seed, 100);
    return std::pair(s.macro_f1_interval->low, s.macro_auroc_interval->high);
  };
  EXPECT_EQ(interval(p, 1), interval(reversed, 1));
  EXPECT_NE(interval(p, 1), interval(p, 2));
}

TEST(Bootstrap, UndefinedAurocHasNoInterval) {
  Predictions p = testing::synthetic(20, 1);
  std::fill(p.labels.begin(), p.labels.end(), std::uint8_t{0});
  Scores s = score(p, {0.5});
  add_bootstrap_intervals(s, p, 1, 10);
  EXPECT_TRUE(s.macro_f1_interval);
  EXPECT_FALSE(s.macro_auroc_interval);
}

}  // namespace
}  // namespace medfuse::evaluate
