#include "src/evaluate/disentanglement.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

namespace medfuse::evaluate {
namespace {

constexpr std::int64_t kDiseases = 3, kWidth = 6;

/// Rows with a cause that decides the labels; parts are made of it by the test.
struct Rows {
  Inference inference;
  at::Tensor cause_NK;
};

Rows rows(std::int64_t count) {
  Rows made;
  made.cause_NK = torch::randn({count, kDiseases}, torch::kFloat64);
  Predictions& p = made.inference.predictions;
  p.diseases = {"a", "b", "c"};
  for (std::int64_t i = 0; i < count; ++i) {
    p.admissions.push_back(i);
    p.patients.push_back(i);
    for (std::int64_t k = 0; k < kDiseases; ++k) {
      p.probabilities.push_back(0.5);
      p.labels.push_back(made.cause_NK[i][k].item<double>() > 0);
    }
  }
  made.inference.specific_NF = torch::randn({count, 2 * kWidth}, torch::kFloat64);
  made.inference.shared_NG = torch::randn({count, kWidth}, torch::kFloat64);
  return made;
}

class DisentanglementTest : public testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(4);
    fitted_ = rows(400);
    judged_ = rows(600);
  }
  template <class F>
  Disentanglement with(const F& change) {
    change(fitted_);
    change(judged_);
    return disentanglement(fitted_.inference, judged_.inference, 1);
  }

  Rows fitted_, judged_;
};

TEST_F(DisentanglementTest, FindsWhichPartPredicts) {
  const auto result = with([](Rows& r) { r.inference.shared_NG.narrow(1, 0, kDiseases).copy_(r.cause_NK); });
  EXPECT_GT(*result.shared_auroc, 0.98);
  EXPECT_NEAR(*result.text_auroc, 0.5, 0.08);
  EXPECT_NEAR(*result.labs_auroc, 0.5, 0.08);
  EXPECT_LT(result.mutual_information, 0.15);  // noise beside the cause: nothing is shared
}

TEST_F(DisentanglementTest, TellsTheTextFromTheLabs) {
  const auto result = with([](Rows& r) { r.inference.specific_NF.narrow(1, kWidth, kDiseases).copy_(r.cause_NK); });
  EXPECT_GT(*result.labs_auroc, 0.98);
  EXPECT_NEAR(*result.text_auroc, 0.5, 0.08);
  EXPECT_NEAR(*result.shared_auroc, 0.5, 0.08);
}

// The trap: a constant shared part has no mutual information with anything, and nothing to say.
TEST_F(DisentanglementTest, ACollapsedPartIsSeenByItsProbe) {
  const auto result = with([](Rows& r) { r.inference.shared_NG.fill_(0.25); });
  EXPECT_NEAR(result.mutual_information, 0.0, 1e-6);
  EXPECT_NEAR(*result.shared_auroc, 0.5, 1e-6);
}

TEST_F(DisentanglementTest, ACopyOfAPartHasMuchInformation) {
  const auto result = with([](Rows& r) { r.inference.shared_NG.copy_(r.inference.specific_NF.narrow(1, 0, kWidth)); });
  EXPECT_GT(result.mutual_information, 2.0);
}

// A part that is small is not a part that knows little.
TEST_F(DisentanglementTest, ScaleHidesNothing) {
  const auto result =
      with([](Rows& r) { r.inference.shared_NG.copy_(0.01 * r.inference.specific_NF.narrow(1, 0, kWidth)); });
  EXPECT_GT(result.mutual_information, 2.0);
}

TEST_F(DisentanglementTest, OneSampleCanBeJudged) {
  judged_ = rows(1);
  EXPECT_FALSE(disentanglement(fitted_.inference, judged_.inference, 1).shared_auroc.has_value());
}

// The estimator must not be judged on what it was fitted to: rows that it learned by heart would show information.
TEST_F(DisentanglementTest, FewRowsOfNoiseShowNoInformation) {
  fitted_ = rows(40);
  EXPECT_LT(disentanglement(fitted_.inference, judged_.inference, 1).mutual_information, 0.5);
}

TEST_F(DisentanglementTest, NeedsThePartsOfAFusion) {
  fitted_.inference.shared_NG.reset();
  EXPECT_THROW(disentanglement(fitted_.inference, judged_.inference, 1), std::logic_error);
}

}  // namespace
}  // namespace medfuse::evaluate
