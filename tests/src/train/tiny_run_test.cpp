// The measure that the tests of training compare runs by.
#include "tests/src/train/tiny_run.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace medfuse::train::tiny {
namespace {

const double nan = std::numeric_limits<double>::quiet_NaN();

Parameters three(double a, double b, double c) {
  const auto tensor = [](double value) { return torch::tensor({value, value / 2}, torch::kFloat64); };
  return {{"a", tensor(a)}, {"b", tensor(b)}, {"c", tensor(c)}};
}

TEST(Distance, IsThatOfTheWorstTensor) {
  const auto o = options("f64");
  EXPECT_EQ(distance(three(4, 2, 8), three(4, 2, 8), o).first, 0);
  const auto [worst, name] = distance(three(4, 3, 8.5), three(4, 2, 8), o);
  EXPECT_EQ(worst, 0.5);
  EXPECT_EQ(name, "b");
}

// What hardly moved is held against the shortest step that any stage may take.
TEST(Distance, IsRelativeToTheSmallestRateAtLeast) {
  auto o = options("f64");
  o.learning_rate = 1e-2;
  o.fusion_stage.learning_rate = 1e-3;
  o.encoders.lab_learning_rate = 1e-4;
  EXPECT_NEAR(distance(three(1, 1e-6, 1), three(1, 0, 1), o).first, 1e-2, 1e-15);
  o.encoders.lab_learning_rate = 1e-2;
  EXPECT_NEAR(distance(three(1, 1e-6, 1), three(1, 0, 1), o).first, 1e-3, 1e-15);
}

TEST(Distance, DoesNotLoseWhatIsNotFinite) {
  const auto o = options("f64");
  for (const auto& [a, b] : {std::pair(three(1, nan, 3), three(1, 2, 3.5)),
                             std::pair(three(1, 2, 3), three(1, nan, 3.5)),
                             std::pair(three(1, INFINITY, 3), three(1, INFINITY, 3.5))}) {
    const auto [worst, name] = distance(a, b, o);
    EXPECT_TRUE(std::isnan(worst)) << worst;
    EXPECT_EQ(name, "b");
  }
  EXPECT_TRUE(std::isinf(distance(three(1, INFINITY, nan), three(1, 2, 3), o).first));
}

TEST(Distance, RefusesOtherTensors) {
  const auto o = options("f64");
  const auto expected = three(1, 2, 3);
  auto other = expected;
  other.pop_back();
  EXPECT_THROW(distance(other, expected, o), std::logic_error);
  EXPECT_THROW(distance(expected, other, o), std::logic_error);
  other = expected;
  other[1].first = "d";
  EXPECT_THROW(distance(other, expected, o), std::logic_error);
  other = expected;
  other[1].second = torch::zeros({1}, torch::kFloat64);  // which would broadcast
  EXPECT_THROW(distance(other, expected, o), std::logic_error);
}

}  // namespace
}  // namespace medfuse::train::tiny
