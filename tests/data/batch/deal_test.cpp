#include "data/batch/deal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <tuple>

#include "base/random.h"

namespace medfuse::data {
namespace {

struct Example {
  std::vector<Draw> batch;
  std::vector<std::int32_t> lengths;
};

Example example(std::int64_t batch, std::int64_t samples = 200) {
  Example e;
  for (std::int64_t i = 0; i < samples; ++i) {
    e.lengths.push_back(static_cast<std::int32_t>(1 + mix(static_cast<std::uint64_t>(i)) % 512));
  }
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < samples; ++i) ids.push_back(i);
  e.batch = SampleStream(ids, 1, 1).step(2, batch);
  return e;
}

std::vector<Draw> sorted(std::vector<Draw> draws) {
  std::sort(draws.begin(), draws.end(),
            [](const Draw& a, const Draw& b) { return std::tie(a.index, a.epoch) < std::tie(b.index, b.epoch); });
  return draws;
}

TEST(MicroBatches, PartsMakeUpTheBatchWhateverTheirNumber) {
  for (const std::int64_t batch : {1, 3, 32, 61, 300}) {
    const Example e = example(batch);
    for (int parts = 1; parts <= 6; ++parts) {
      std::vector<Draw> all;
      std::size_t least = e.batch.size(), most = 0;
      for (int part = 0; part < parts; ++part) {
        std::size_t own = 0;
        for (const auto& micro : micro_batches(e.batch, part, parts, 4, e.lengths)) {
          EXPECT_GE(micro.size(), 1u);
          EXPECT_LE(micro.size(), 4u);
          own += micro.size();
          all.insert(all.end(), micro.begin(), micro.end());
        }
        least = std::min(least, own);
        most = std::max(most, own);
      }
      EXPECT_EQ(sorted(all), sorted(e.batch)) << batch << " draws, " << parts << " parts";
      EXPECT_LE(most - least, 1u);
    }
  }
}

TEST(MicroBatches, PartsHoldAboutEquallyManyTokens) {
  const Example e = example(64);
  std::int64_t total = 0;
  for (const Draw& draw : e.batch) total += e.lengths[static_cast<std::size_t>(draw.index)];
  for (int parts = 2; parts <= 6; ++parts) {
    for (int part = 0; part < parts; ++part) {
      std::int64_t tokens = 0;
      for (const auto& micro : micro_batches(e.batch, part, parts, 8, e.lengths)) {
        for (const Draw& draw : micro) tokens += e.lengths[static_cast<std::size_t>(draw.index)];
      }
      EXPECT_NEAR(static_cast<double>(tokens) * parts / static_cast<double>(total), 1.0, 0.1)
          << part << " of " << parts;
    }
  }
}

TEST(MicroBatches, HoldSimilarLengths) {
  const Example e = example(96);
  const auto micro = micro_batches(e.batch, 1, 3, 8, e.lengths);
  ASSERT_EQ(micro.size(), 4u);
  std::int32_t shortest_before = 1 << 30;
  for (const auto& draws : micro) {
    for (const Draw& draw : draws) EXPECT_LE(e.lengths[static_cast<std::size_t>(draw.index)], shortest_before);
    for (const Draw& draw : draws) {
      shortest_before = std::min(shortest_before, e.lengths[static_cast<std::size_t>(draw.index)]);
    }
  }
}

TEST(MicroBatches, DoNotDependOnTheOrderOfTheBatch) {
  Example e = example(40);
  const auto expected = micro_batches(e.batch, 1, 3, 4, e.lengths);
  std::reverse(e.batch.begin(), e.batch.end());
  EXPECT_EQ(micro_batches(e.batch, 1, 3, 4, e.lengths), expected);
}

TEST(MicroBatches, APartMayBeEmpty) {
  const Example e = example(2);
  EXPECT_EQ(micro_batches(e.batch, 0, 4, 8, e.lengths).size(), 1u);
  EXPECT_TRUE(micro_batches(e.batch, 3, 4, 8, e.lengths).empty());
}

TEST(MicroBatches, RefuseWhatIsOutOfRange) {
  const Example e = example(4);
  EXPECT_THROW(micro_batches(e.batch, 2, 2, 8, e.lengths), std::logic_error);
  EXPECT_THROW(micro_batches(e.batch, -1, 2, 8, e.lengths), std::logic_error);
  EXPECT_THROW(micro_batches(e.batch, 0, 2, 0, e.lengths), std::logic_error);
  EXPECT_THROW(micro_batches({{200, 0}}, 0, 1, 8, e.lengths), std::logic_error);
}

}  // namespace
}  // namespace medfuse::data
