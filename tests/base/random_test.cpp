#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace medfuse {
namespace {

TEST(Random, MixerIsSplitMix64) {
  // First two outputs of the published generator for seed 0: its state advances by the same constant.
  EXPECT_EQ(mix(0), 0xe220a8397b1dcdafull);
  EXPECT_EQ(mix(0x9e3779b97f4a7c15ull), 0x6e789e6aa1b965f4ull);
}

TEST(Random, KeysDifferInEveryCounterAndOrder) {
  std::set<std::uint64_t> keys;
  for (std::uint64_t a = 0; a < 30; ++a) {
    for (std::uint64_t b = 0; b < 30; ++b) keys.insert(key({a, b}));
  }
  EXPECT_EQ(keys.size(), 900u);
  EXPECT_EQ(key({1, 2}), key({1, 2}));
  EXPECT_NE(key({1, 2}), key({1, 2, 0}));
}

TEST(Random, UniformFillsTheUnitInterval) {
  double sum = 0, squares = 0;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const double u = uniform(key({42, static_cast<std::uint64_t>(i)}));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.01);
  EXPECT_NEAR(squares / n - std::pow(sum / n, 2), 1.0 / 12, 0.005);
}

TEST(Random, NamesAreTheirXxh64) {
  EXPECT_EQ(name_counter(""), 0xef46db3751d8e999ull);  // published test vector of XXH64, seed 0
  EXPECT_NE(name_counter("encoders"), name_counter("fusion"));
}

}  // namespace
}  // namespace medfuse
