#include "data/batch/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>

#include "base/random.h"

namespace medfuse::data {
namespace {

std::vector<std::int64_t> some_ids(std::int64_t n) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) ids[static_cast<std::size_t>(i)] = 100000 + 7 * i;
  return ids;
}

TEST(SampleStream, EachEpochIsAPermutationOfItsOwn) {
  SampleStream stream(some_ids(37), 5, 1);
  std::set<std::vector<std::int64_t>> orders;
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < 37; ++i) {
      const Draw draw = stream.at(epoch * 37 + i);
      EXPECT_EQ(draw.epoch, epoch);
      order.push_back(draw.index);
    }
    orders.insert(order);
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(37);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(SampleStream, FollowsTheKeysOfTheSamples) {
  const auto ids = some_ids(20);
  SampleStream stream(ids, 5, 3);
  auto key_at = [&](std::int64_t position) {
    const Draw draw = stream.at(position);
    return key({5, 3, static_cast<std::uint64_t>(draw.epoch), static_cast<std::uint64_t>(stream.id(draw))});
  };
  for (std::int64_t p = 41; p < 60; ++p) EXPECT_LT(key_at(p - 1), key_at(p)) << p;
}

TEST(SampleStream, DependsOnSeedAndStage) {
  auto first = [](std::uint64_t seed, std::uint64_t stage) {
    return SampleStream(some_ids(50), seed, stage).step(0, 50);
  };
  EXPECT_EQ(first(1, 1), first(1, 1));
  EXPECT_NE(first(1, 1), first(2, 1));
  EXPECT_NE(first(1, 1), first(1, 2));
}

TEST(SampleStream, DoesNotDependOnTheOrderOfTheList) {
  auto ids = some_ids(25);
  auto drawn = [](SampleStream stream) {
    std::vector<std::int64_t> list;
    for (std::int64_t p = 0; p < 60; ++p) list.push_back(stream.id(stream.at(p)));
    return list;
  };
  const auto expected = drawn(SampleStream(ids, 9, 1));
  std::reverse(ids.begin(), ids.end());
  EXPECT_EQ(drawn(SampleStream(ids, 9, 1)), expected);
}

TEST(SampleStream, ResumesAtAnyPosition) {
  SampleStream whole(some_ids(13), 3, 2);
  std::vector<Draw> all;
  for (std::int64_t s = 0; s < 12; ++s) {
    const auto draws = whole.step(s, 5);
    all.insert(all.end(), draws.begin(), draws.end());
  }
  ASSERT_EQ(all.size(), 60u);
  for (std::int64_t s = 0; s < 12; ++s) {
    SampleStream resumed(some_ids(13), 3, 2);
    const std::vector<Draw> expected(all.begin() + s * 5, all.begin() + (s + 1) * 5);
    EXPECT_EQ(resumed.step(s, 5), expected) << "step " << s;
  }
}

TEST(SampleStream, ABatchMayBeLargerThanTheSet) {
  SampleStream stream(some_ids(3), 3, 2);
  const auto draws = stream.step(1, 8);
  ASSERT_EQ(draws.size(), 8u);
  EXPECT_EQ(draws.front().epoch, 2);
  EXPECT_EQ(draws.back().epoch, 5);
}

TEST(SampleStream, RefusesWhatHasNoOrder) {
  EXPECT_THROW(SampleStream({}, 1, 1), std::logic_error);
  EXPECT_THROW(SampleStream({4, 5, 4}, 1, 1), std::logic_error);
  EXPECT_THROW(SampleStream({4}, 1, 1).at(-1), std::logic_error);
  EXPECT_THROW(SampleStream({4}, 1, 1).step(0, 0), std::logic_error);
}

}  // namespace
}  // namespace medfuse::data
