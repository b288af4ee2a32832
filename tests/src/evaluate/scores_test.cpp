#include "src/evaluate/scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/files.h"
#include "src/evaluate/columns.h"
#include "src/evaluate/curves.h"
#include "tests/src/evaluate/synthetic.h"

namespace medfuse::evaluate {
namespace {

nlohmann::json fixture() { return nlohmann::json::parse(read_file("tests/fixtures/evaluate/scores.json")); }

Predictions predictions_of(const nlohmann::json& json) {
  Predictions p;
  p.diseases = json["diseases"].get<std::vector<std::string>>();
  p.patients = json["patients"].get<std::vector<std::int64_t>>();
  p.admissions.resize(p.patients.size());
  std::iota(p.admissions.begin(), p.admissions.end(), 1000);
  p.probabilities = json["probabilities"].get<std::vector<double>>();
  p.labels = json["labels"].get<std::vector<std::uint8_t>>();
  return p;
}

void expect_equal(const std::optional<double>& value, const nlohmann::json& expected, const std::string& what) {
  ASSERT_EQ(value.has_value(), !expected.is_null()) << what;
  if (value) {
    EXPECT_NEAR(*value, expected.get<double>(), 1e-12) << what;
  }
}

Predictions one_disease(std::vector<double> probabilities, std::vector<std::uint8_t> labels) {
  Predictions p;
  p.diseases = {"D"};
  for (std::size_t i = 0; i < labels.size(); ++i) p.admissions.push_back(static_cast<std::int64_t>(i));
  p.patients = p.admissions;
  p.probabilities = std::move(probabilities);
  p.labels = std::move(labels);
  return p;
}

TEST(Scores, EqualScikitLearn) {
  const auto json = fixture();
  const Scores s = score(predictions_of(json), json["thresholds"].get<std::vector<double>>());
  const auto& overall = json["overall"];
  expect_equal(s.macro_f1, overall["macro_f1"], "macro_f1");
  expect_equal(s.micro_f1, overall["micro_f1"], "micro_f1");
  expect_equal(s.macro_precision, overall["macro_precision"], "macro_precision");
  expect_equal(s.macro_recall, overall["macro_recall"], "macro_recall");
  expect_equal(s.micro_precision, overall["micro_precision"], "micro_precision");
  expect_equal(s.micro_recall, overall["micro_recall"], "micro_recall");
  expect_equal(s.accuracy, overall["accuracy"], "accuracy");
  expect_equal(s.exact_match, overall["exact_match"], "exact_match");
  expect_equal(s.macro_auroc, overall["macro_auroc"], "macro_auroc");
  expect_equal(s.macro_auprc, overall["macro_auprc"], "macro_auprc");
  ASSERT_EQ(s.diseases.size(), json["per_disease"].size());
  for (const DiseaseScores& d : s.diseases) {
    const auto& expected = json["per_disease"][d.name];
    expect_equal(d.f1, expected["f1"], d.name + " f1");
    expect_equal(d.precision, expected["precision"], d.name + " precision");
    expect_equal(d.recall, expected["recall"], d.name + " recall");
    expect_equal(d.accuracy, expected["accuracy"], d.name + " accuracy");
    expect_equal(d.auroc, expected["auroc"], d.name + " auroc");
    expect_equal(d.auprc, expected["auprc"], d.name + " auprc");
    expect_equal(d.brier, expected["brier"], d.name + " brier");
    expect_equal(d.calibration_error, expected["calibration_error"], d.name + " calibration_error");
  }
  ASSERT_EQ(s.notes.size(), 2u);
  EXPECT_THAT(s.notes[0], ::testing::HasSubstr("'no positive' has no positive sample"));
  EXPECT_THAT(s.notes[1], ::testing::HasSubstr("'all positive' has no negative sample"));
}

TEST(Scores, CurvesEqualScikitLearn) {
  const auto json = fixture();
  const Column c = column(predictions_of(json), 1);
  const auto all = cuts(c.probabilities, c.labels);
  const auto roc = roc_points(all);
  ASSERT_EQ(roc.size(), json["roc_of_tied"][0].size());
  for (std::size_t i = 0; i < roc.size(); ++i) {
    EXPECT_NEAR(roc[i].x, json["roc_of_tied"][0][i].get<double>(), 1e-14);
    EXPECT_NEAR(roc[i].y, json["roc_of_tied"][1][i].get<double>(), 1e-14);
  }
  // Each cut's (recall, precision) is a point of the drawn steps; scikit-learn's first one is the added (0, 1).
  const auto steps = precision_recall_points(all);
  for (std::size_t i = 1; i < json["cuts_of_tied"][0].size(); ++i) {
    const double precision = json["cuts_of_tied"][0][i].get<double>();
    const double recall = json["cuts_of_tied"][1][i].get<double>();
    EXPECT_TRUE(std::any_of(steps.begin(), steps.end(), [&](const Point& p) {
      return std::abs(p.x - recall) < 1e-14 && std::abs(p.y - precision) < 1e-14;
    })) << recall << ' ' << precision;
  }
}

TEST(Thresholds, ReachTheBestF1OfAllPossibleOnes) {
  const auto json = fixture();
  const Predictions p = predictions_of(json);
  const auto thresholds = choose_thresholds(p);
  const Scores s = score(p, thresholds);
  for (std::size_t d = 0; d < s.diseases.size(); ++d) {
    const auto& best = json["per_disease"][s.diseases[d].name]["best_f1"];
    if (best.is_null()) {
      EXPECT_EQ(thresholds[d], 0.5);
    } else {
      EXPECT_NEAR(s.diseases[d].f1, best.get<double>(), 1e-12) << s.diseases[d].name;
    }
  }
}

TEST(Thresholds, LieMidwayAndBreakTiesTowardsOneHalf) {
  EXPECT_EQ(choose_thresholds(one_disease({0.9, 0.8, 0.2, 0.1}, {1, 1, 0, 0})), std::vector<double>{0.5});
  EXPECT_DOUBLE_EQ(choose_thresholds(one_disease({0.9, 0.7, 0.2}, {1, 0, 0}))[0], 0.8);
  // F1 is 2/3 for the first row alone and for the first four: 0.35 is nearer to one half than 0.85.
  EXPECT_DOUBLE_EQ(choose_thresholds(one_disease({0.9, 0.8, 0.7, 0.6, 0.1}, {1, 0, 0, 1, 0}))[0], 0.35);
  // The same with both equally far from one half: the higher.
  EXPECT_EQ(choose_thresholds(one_disease({0.875, 0.625, 0.5, 0.375, 0.125}, {1, 0, 0, 1, 0})),
            std::vector<double>{0.75});
  // All positive: below the lowest probability, also where that is 0.
  EXPECT_DOUBLE_EQ(choose_thresholds(one_disease({0.4, 0.6}, {1, 1}))[0], 0.2);
  EXPECT_EQ(choose_thresholds(one_disease({0.0, 0.6}, {1, 1})), std::vector<double>{0.0});
  EXPECT_EQ(choose_thresholds(one_disease({0.4, 0.6}, {0, 0})), std::vector<double>{0.5});
  // Neighbouring doubles have no number between them.
  const double low = 0.5, high = std::nextafter(0.5, 1.0);
  EXPECT_EQ(choose_thresholds(one_disease({low, high}, {0, 1})), std::vector<double>{high});
}

TEST(Thresholds, DoNotDependOnTheOrderOfRows) {
  const Predictions p = testing::synthetic(300, 4);
  Predictions reversed = p;
  const std::size_t k = p.diseases.size();
  for (std::size_t n = 0; n < p.size(); ++n) {
    for (std::size_t d = 0; d < k; ++d) {
      reversed.probabilities[(p.size() - 1 - n) * k + d] = p.probabilities[n * k + d];
      reversed.labels[(p.size() - 1 - n) * k + d] = p.labels[n * k + d];
    }
  }
  EXPECT_EQ(choose_thresholds(p), choose_thresholds(reversed));
}

TEST(Scores, AllUndefinedIsNoNumber) {
  const Scores s = score(one_disease({0.4, 0.6}, {0, 0}), {0.5});
  EXPECT_FALSE(s.macro_auroc);
  EXPECT_FALSE(s.macro_auprc);
  EXPECT_EQ(s.macro_f1, 0);
}

TEST(Scores, RefuseWhatCannotBeScored) {
  EXPECT_THROW(score(one_disease({0.4, 0.6}, {0, 1}), {0.5, 0.5}), std::logic_error);
  EXPECT_THROW(score(one_disease({0.4}, {0, 1}), {0.5}), std::logic_error);
  const auto message = [](const Predictions& p) -> std::string {
    try {
      score(p, {0.5});
    } catch (const Error& error) {
      return std::to_string(static_cast<int>(error.code())) + " " + error.what();
    }
    return "";
  };
  EXPECT_THAT(message(one_disease({0.4, NAN}, {0, 1})), ::testing::StartsWith("5 admission 1, disease 'D'"));
  EXPECT_THAT(message(one_disease({0.4, 1.5}, {0, 1})), ::testing::StartsWith("5 "));
  EXPECT_THAT(message(one_disease({0.4, 0.5}, {0, 2})), ::testing::StartsWith("3 "));
  EXPECT_THAT(message(one_disease({}, {})), ::testing::StartsWith("3 nothing to score"));
  Predictions unlabelled = one_disease({0.4, 0.5}, {0, 1});
  unlabelled.labels.clear();
  EXPECT_THAT(message(unlabelled), ::testing::HasSubstr("no labels"));
}

}  // namespace
}  // namespace medfuse::evaluate
