#include "src/model/lab_knots.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "src/model/lab_transformer.h"

namespace medfuse::model {
namespace {

struct Table {
  at::Tensor values, observed, keep;
  LabKnots knots;
};

// Three classes, a continuous column, a constant one, a column of five values with gaps.
Table table(std::int64_t rows) {
  torch::manual_seed(12);
  Table t;
  t.values = torch::stack({torch::randint(0, 3, {rows}).to(torch::kDouble) / 2, torch::rand({rows}, torch::kDouble).pow(3),
                           torch::zeros({rows}, torch::kDouble),
                           (torch::randint(0, 5, {rows}).to(torch::kDouble) / 4).square()},
                          1);
  t.observed = torch::rand({rows, 4}) < 0.8;
  std::vector<std::int64_t> ids(rows);
  std::iota(ids.begin(), ids.end(), 0);
  t.keep = lab_keep_mask(t.observed, ids, 1, 2, 3, 0.5);
  t.knots = fit_lab_knots(t.values, t.observed, 8);
  return t;
}

TEST(LabKnots, AreDistinctValuesOrQuantiles) {
  const Table t = table(200);
  EXPECT_TRUE(t.knots.counts_C().equal(torch::tensor({3, 8, 2, 5})));
  EXPECT_TRUE(t.knots.knots_CK[0].narrow(0, 0, 3).equal(torch::tensor({0.0, 0.5, 1.0}, torch::kDouble)));
  EXPECT_TRUE(t.knots.knots_CK[0].narrow(0, 3, 5).isinf().all().item<bool>());
  EXPECT_TRUE(t.knots.knots_CK[2].narrow(0, 0, 2).equal(torch::tensor({0.0, 1.0}, torch::kDouble)));
  const at::Tensor seen = t.values.select(1, 1).masked_select(t.observed.select(1, 1));
  const at::Tensor quantiles = t.knots.knots_CK[1];
  EXPECT_EQ(quantiles[0].item<double>(), seen.min().item<double>());
  EXPECT_EQ(quantiles[7].item<double>(), seen.max().item<double>());
  EXPECT_TRUE((quantiles.narrow(0, 1, 7) > quantiles.narrow(0, 0, 7)).all().item<bool>());
  for (int i = 1; i < 8; ++i) {  // as many values between any two of them
    const double share = (seen < quantiles[i]).to(torch::kDouble).mean().item<double>();
    EXPECT_NEAR(share, i / 7.0, 0.02) << i;
  }
  EXPECT_THROW(fit_lab_knots(t.values, t.observed, 1), std::logic_error);
}

TEST(LabKnots, PlacesGiveTheValuesBack) {
  const Table t = table(50);
  at::Tensor values = t.values.clone();
  values[0][1] = -3;  // beyond the outer knots
  values[1][1] = 7;
  const LabPlaces places = t.knots.locate(values);
  for (std::int64_t row = 0; row < 50; ++row) {
    for (std::int64_t column = 0; column < 4; ++column) {
      const std::int64_t index = places.index_BC[row][column].item<std::int64_t>();
      ASSERT_GE(index, 0);
      ASSERT_LE(index + 2, t.knots.counts_C()[column].item<std::int64_t>());
      const double below = t.knots.knots_CK[column][index].item<double>();
      const double above = t.knots.knots_CK[column][index + 1].item<double>();
      const double fraction = places.fraction_BC[row][column].item<double>();
      const double last = t.knots.knots_CK[1][7].item<double>(), first = t.knots.knots_CK[1][0].item<double>();
      double expected = values[row][column].item<double>();
      if (column == 1) expected = std::min(std::max(expected, first), last);
      EXPECT_NEAR(below * (1 - fraction) + above * fraction, expected, 1e-12);
    }
  }
}

LabTransformer model_of(const Table& t) {
  LabOptions options;
  options.width = 16;
  options.encoder_layers = 1;
  options.decoder_layers = 1;
  LabTransformer model(options, 4, 1, t.knots);
  model.to(torch::kDouble);
  return model;
}

TEST(LabKnots, PredictionIsTheMeanOfTheDistribution) {
  const Table t = table(20);
  LabTransformer model = model_of(t);
  const LabPrediction prediction = model.predict(t.values, t.keep);
  ASSERT_EQ(prediction.log_probabilities_BCK.sizes(), (std::vector<std::int64_t>{20, 4, 8}));
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t column = 0; column < 4; ++column) {
      double mean = 0, sum = 0;
      for (std::int64_t k = 0; k < 8; ++k) {
        const double p = std::exp(prediction.log_probabilities_BCK[row][column][k].item<double>());
        if (k >= t.knots.counts_C()[column].item<std::int64_t>()) {
          EXPECT_EQ(p, 0);
        } else {
          mean += p * t.knots.knots_CK[column][k].item<double>();
          sum += p;
        }
      }
      EXPECT_NEAR(sum, 1, 1e-12);
      EXPECT_NEAR(prediction.values_BC[row][column].item<double>(), mean, 1e-12);
    }
  }
  EXPECT_TRUE(model.forward(t.values, t.keep).equal(prediction.values_BC));
}

TEST(LabKnots, CrossEntropyEqualsLoopsOverCells) {
  const Table t = table(20);
  LabTransformer model = model_of(t);
  const LabPrediction prediction = model.predict(t.values, t.keep);
  const LabPlaces places = t.knots.locate(t.values);
  double hidden = 0, kept = 0;
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t column = 0; column < 4; ++column) {
      if (!t.observed[row][column].item<bool>()) continue;
      const std::int64_t index = places.index_BC[row][column].item<std::int64_t>();
      const double fraction = places.fraction_BC[row][column].item<double>();
      const at::Tensor log_p = prediction.log_probabilities_BCK[row][column];
      const double entropy =
          -(1 - fraction) * log_p[index].item<double>() - fraction * log_p[index + 1].item<double>();
      (t.keep[row][column].item<bool>() ? kept : hidden) += entropy;
    }
  }
  const LabLoss loss = lab_cross_entropy(prediction.log_probabilities_BCK, places, t.observed, t.keep);
  EXPECT_NEAR(loss.hidden_sum.item<double>(), hidden, 1e-11);
  EXPECT_NEAR(loss.kept_sum.item<double>(), kept, 1e-11);
}

TEST(LabKnots, HiddenCellsChangeNothing) {
  const Table t = table(20);
  LabTransformer model = model_of(t);
  const at::Tensor expected = model.forward(t.values, t.keep);
  for (const double other : {0.0, 1e6, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_TRUE(model.forward(at::where(t.keep, t.values, other), t.keep).equal(expected)) << other;
  }
}

TEST(LabKnots, GradientsAreThoseOfDifferences) {
  const Table t = table(20);
  LabTransformer model = model_of(t);
  const LabCounts counts = lab_counts(t.observed, t.keep);
  const LabPlaces places = t.knots.locate(t.values);
  const auto loss = [&] {
    const LabPrediction prediction = model.predict(t.values, t.keep);
    return lab_loss(prediction.values_BC, t.values, t.observed, t.keep).total(counts) +
           0.1 * lab_cross_entropy(prediction.log_probabilities_BCK, places, t.observed, t.keep).total(counts);
  };
  loss().backward();
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : model.named_parameters()) {
    const at::Tensor flat = parameter.value().view(-1), slopes = parameter.value().grad().view(-1);
    ASSERT_TRUE(slopes.isfinite().all().item<bool>()) << parameter.key();
    const std::int64_t at = slopes.abs().argmax().item<std::int64_t>();
    const double step = 1e-6, value = flat[at].item<double>(), slope = slopes[at].item<double>();
    flat[at] = value + step;
    const double above = loss().item<double>();
    flat[at] = value - step;
    const double below = loss().item<double>();
    flat[at] = value;
    EXPECT_NE(slope, 0.0) << parameter.key();
    EXPECT_NEAR((above - below) / (2 * step), slope, 1e-7 + 1e-5 * std::abs(slope)) << parameter.key();
  }
}

}  // namespace
}  // namespace medfuse::model
