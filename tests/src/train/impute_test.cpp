#include "src/train/impute.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace medfuse::train {
namespace {

constexpr std::size_t kColumns = 6;
const double kEmpty = std::numeric_limits<double>::quiet_NaN();

struct Case {
  std::vector<double> truth, amputed;
};

// Columns that follow from two hidden numbers: a steep curve, a product, a count of classes, one of large units.
Case synthetic(std::size_t rows) {
  Case c;
  for (std::size_t row = 0; row < rows; ++row) {
    const double a = uniform(key({1, row})), b = uniform(key({2, row}));
    for (const double value : {a, 1 / (1 + std::exp(-8 * (b - 0.5))), a * b, std::floor(4 * (a + b) / 2), 5e4 * (a - b),
                               a * a - 2 * b}) {
      c.truth.push_back(value);
      const bool hidden = uniform(key({3, row, c.truth.size()})) < 0.25;
      c.amputed.push_back(hidden ? kEmpty : value);
    }
  }
  return c;
}

ImputeOptions quick() {
  ImputeOptions options;
  options.epochs = 60;
  options.threads = 1;
  options.labs.width = 32;
  options.labs.encoder_layers = 2;
  return options;
}

// Root mean square error over the empty cells, columns scaled by their observed range.
double rmse(const Case& c, const std::vector<double>& filled) {
  double sum = 0, count = 0;
  for (std::size_t column = 0; column < kColumns; ++column) {
    double low = INFINITY, high = -INFINITY;
    for (std::size_t i = column; i < c.amputed.size(); i += kColumns) {
      if (std::isnan(c.amputed[i])) continue;
      low = std::min(low, c.amputed[i]);
      high = std::max(high, c.amputed[i]);
    }
    for (std::size_t i = column; i < c.amputed.size(); i += kColumns) {
      if (!std::isnan(c.amputed[i])) continue;
      sum += std::pow((filled[i] - c.truth[i]) / (high - low), 2);
      ++count;
    }
  }
  return std::sqrt(sum / count);
}

std::vector<double> column_means(const Case& c) {
  std::vector<double> filled = c.amputed;
  for (std::size_t column = 0; column < kColumns; ++column) {
    double sum = 0, count = 0;
    for (std::size_t i = column; i < filled.size(); i += kColumns) {
      if (!std::isnan(c.amputed[i])) sum += c.amputed[i], ++count;
    }
    for (std::size_t i = column; i < filled.size(); i += kColumns) {
      if (std::isnan(filled[i])) filled[i] = sum / count;
    }
  }
  return filled;
}

TEST(Impute, BeatsTheMeanByFar) {
  const Case c = synthetic(400);
  std::int64_t calls = 0;
  double first = 0, last = 0;
  const std::vector<double> filled = impute(quick(), kColumns, c.amputed, [&](const ImputeProgress& progress) {
    EXPECT_EQ(progress.step, calls++);  // the first call comes before the first step
    if (progress.step == 1) first = progress.loss;
    last = progress.loss;
    EXPECT_EQ(progress.steps, 60 * 400 / 64);
  });
  EXPECT_EQ(calls, 60 * 400 / 64 + 1);
  EXPECT_LT(last, first / 2);
  EXPECT_LT(rmse(c, filled), 0.6 * rmse(c, column_means(c)));
  for (std::size_t i = 0; i < filled.size(); ++i) {
    if (!std::isnan(c.amputed[i])) {
      EXPECT_EQ(filled[i], c.amputed[i]) << i;  // as they were, to the last bit
    }
    EXPECT_TRUE(std::isfinite(filled[i])) << i;
  }
  for (std::size_t i = 3; i < filled.size(); i += kColumns) {
    EXPECT_GE(filled[i], 0.0);
    EXPECT_LE(filled[i], 3.0);  // the largest class
  }
}

TEST(Impute, IsAFunctionOfTheSeed) {
  const Case c = synthetic(100);
  ImputeOptions options = quick();
  options.epochs = 4;
  const std::vector<double> once = impute(options, kColumns, c.amputed);
  EXPECT_EQ(impute(options, kColumns, c.amputed), once);
  options.threads = 3;
  const std::vector<double> threaded = impute(options, kColumns, c.amputed);
  options.seed = 2;
  const std::vector<double> other = impute(options, kColumns, c.amputed);
  double largest = 0, change = 0;
  for (std::size_t i = 0; i < once.size(); ++i) {
    const double unit = i % kColumns == 4 ? 1e5 : 1;
    largest = std::max(largest, std::abs(threaded[i] - once[i]) / unit);
    change = std::max(change, std::abs(other[i] - once[i]) / unit);
  }
  EXPECT_LT(largest, 1e-3);  // other sums' rounding only
  EXPECT_GT(change, 1e-2);
}

TEST(Impute, TakesOddTables) {
  ImputeOptions options = quick();
  options.epochs = 2;
  // A constant column, a row without any number, a row with one.
  const std::vector<double> filled =
      impute(options, 3, {7, 1, 0.5, 7, 2, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, 3, kEmpty});
  for (const std::size_t row : {2u, 3u}) EXPECT_EQ(filled[3 * row], 7);
  for (const double value : filled) EXPECT_TRUE(std::isfinite(value));
  EXPECT_EQ(filled[10], 3);
  // One observed row.
  EXPECT_EQ(impute(options, 2, {4, 5, kEmpty, kEmpty}), (std::vector<double>{4, 5, 4, 5}));
  // Nothing to fill: nothing is trained.
  const std::vector<double> complete = {1, 2, 3, 4};
  EXPECT_EQ(impute(options, 2, complete, [](const ImputeProgress&) { FAIL(); }), complete);
}

TEST(Impute, RefusesBadInput) {
  EXPECT_THROW(impute(quick(), 2, {1, 2, kEmpty}), std::logic_error);
  EXPECT_THROW(impute(quick(), 2, {1, kEmpty, 3, kEmpty}), std::logic_error);
  const Case c = synthetic(40);
  const auto with = [&](auto change, ExitCode code) {
    ImputeOptions options = quick();
    change(options);
    try {
      impute(options, kColumns, c.amputed);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
    }
  };
  with([](ImputeOptions& o) { o.epochs = -1; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.batch = 0; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.learning_rate = 0; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.warmup = 2; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.knots = 1; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.labs.mask_ratio = 0; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.labs.heads = 5; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.threads = -1; }, ExitCode::usage);
  with([](ImputeOptions& o) { o.learning_rate = 1e30; }, ExitCode::numeric);
}

TEST(Impute, ChoosesFewerPassesForLargerTables) {
  EXPECT_EQ(impute_epochs(10), 400);
  EXPECT_EQ(impute_epochs(4000), 100);
  EXPECT_EQ(impute_epochs(1'000'000), 30);
}

}  // namespace
}  // namespace medfuse::train
