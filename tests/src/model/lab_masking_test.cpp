#include "src/model/lab_masking.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"

namespace medfuse::model {
namespace {

at::Tensor random_observed(std::int64_t rows, std::int64_t columns, double share) {
  torch::manual_seed(5);
  return torch::rand({rows, columns}) < share;
}

std::vector<std::int64_t> ids_from(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(first + 7 * i);
  return ids;
}

TEST(LabMasking, KeepsTheCellsWithTheSmallestKeys) {
  const at::Tensor observed = random_observed(40, 9, 0.6);
  const std::vector<std::int64_t> ids = ids_from(100, 40);
  const at::Tensor keep = lab_keep_mask(observed, ids, 3, 11, 2, 0.7);
  for (std::int64_t row = 0; row < 40; ++row) {
    std::vector<std::uint64_t> keys;
    for (std::int64_t column = 0; column < 9; ++column) {
      if (!observed[row][column].item<bool>()) continue;
      keys.push_back(key({3, 11, 2, static_cast<std::uint64_t>(ids[row]), static_cast<std::uint64_t>(column)}));
    }
    std::sort(keys.begin(), keys.end());
    const std::size_t kept = (keys.size() * 3 + 9) / 10;  // ceil(0.3 n)
    for (std::int64_t column = 0; column < 9; ++column) {
      const std::uint64_t own =
          key({3, 11, 2, static_cast<std::uint64_t>(ids[row]), static_cast<std::uint64_t>(column)});
      const bool expected = observed[row][column].item<bool>() && kept > 0 && own <= keys[kept - 1];
      EXPECT_EQ(keep[row][column].item<bool>(), expected) << row << ", " << column;
    }
  }
}

TEST(LabMasking, RoundsTheCountUpAndNotRoundingErrors) {
  const at::Tensor observed = torch::ones({1, 10}, torch::kBool);
  for (const auto& [ratio, kept] : std::vector<std::pair<double, int>>{
           {0.0, 10}, {0.05, 10}, {0.1, 9}, {0.3, 7}, {0.5, 5}, {0.7, 3}, {0.75, 3}, {0.9, 1}, {0.99, 1}, {1.0, 0}}) {
    EXPECT_EQ(lab_keep_mask(observed, {1}, 1, 1, 1, ratio).sum().item<int>(), kept) << ratio;
  }
  EXPECT_EQ(lab_keep_mask(torch::zeros({1, 10}, torch::kBool), {1}, 1, 1, 1, 0.5).sum().item<int>(), 0);
  EXPECT_EQ(lab_keep_mask(torch::zeros({0, 10}, torch::kBool), std::vector<std::int64_t>{}, 1, 1, 1, 0.5).size(0), 0);
}

TEST(LabMasking, DoesNotDependOnTheBatch) {
  const at::Tensor observed = random_observed(12, 20, 0.8);
  const std::vector<std::int64_t> ids = ids_from(9, 12);
  const at::Tensor together = lab_keep_mask(observed, ids, 1, 2, 3, 0.5);
  for (std::int64_t row = 11; row >= 0; --row) {
    EXPECT_TRUE(lab_keep_mask(observed.narrow(0, row, 1), {ids[row]}, 1, 2, 3, 0.5)[0].equal(together[row]));
  }
}

TEST(LabMasking, DependsOnSeedStageEpochAndSample) {
  const at::Tensor observed = torch::ones({1, 40}, torch::kBool);
  const at::Tensor base = lab_keep_mask(observed, {4}, 1, 2, 3, 0.5);
  EXPECT_TRUE(base.equal(lab_keep_mask(observed, {4}, 1, 2, 3, 0.5)));
  EXPECT_FALSE(base.equal(lab_keep_mask(observed, {5}, 1, 2, 3, 0.5)));
  EXPECT_FALSE(base.equal(lab_keep_mask(observed, {4}, 9, 2, 3, 0.5)));
  EXPECT_FALSE(base.equal(lab_keep_mask(observed, {4}, 1, 9, 3, 0.5)));
  EXPECT_FALSE(base.equal(lab_keep_mask(observed, {4}, 1, 2, 9, 0.5)));
}

TEST(LabMasking, RowKeysGiveTheSameAsSampleIds) {
  const at::Tensor observed = random_observed(6, 20, 0.7);
  const std::vector<std::int64_t> ids = ids_from(3, 6);
  std::vector<std::int64_t> keys;
  for (const std::int64_t id : ids) {
    keys.push_back(static_cast<std::int64_t>(key({1, 2, 3, static_cast<std::uint64_t>(id)})));
  }
  EXPECT_TRUE(lab_keep_mask(observed, torch::tensor(keys), 0.4).equal(lab_keep_mask(observed, ids, 1, 2, 3, 0.4)));
}

TEST(LabMasking, KeepsEveryColumnEquallyOften) {
  const std::int64_t rows = 20000;
  const at::Tensor observed = torch::ones({rows, 8}, torch::kBool);
  const at::Tensor share = lab_keep_mask(observed, ids_from(0, rows), 1, 1, 1, 0.5).to(torch::kDouble).mean(0);
  EXPECT_LT((share - 0.5).abs().max().item<double>(), 5 * 0.5 / std::sqrt(rows));
}

TEST(LabMasking, CountsCells) {
  const at::Tensor observed = random_observed(7, 5, 0.7);
  const at::Tensor keep = lab_keep_mask(observed, ids_from(0, 7), 1, 1, 1, 0.4);
  std::int64_t hidden = 0, kept = 0;
  for (int row = 0; row < 7; ++row) {
    for (int column = 0; column < 5; ++column) {
      kept += keep[row][column].item<bool>();
      hidden += observed[row][column].item<bool>() && !keep[row][column].item<bool>();
    }
  }
  const LabCounts counts = lab_counts(observed, keep);
  EXPECT_EQ(counts.kept, kept);
  EXPECT_EQ(counts.hidden, hidden);
}

TEST(LabMasking, RefusesWrongShapes) {
  EXPECT_THROW(lab_keep_mask(torch::ones({2, 3}, torch::kBool), {1}, 1, 1, 1, 0.5), std::logic_error);
  EXPECT_THROW(lab_keep_mask(torch::ones({1, 3}), {1}, 1, 1, 1, 0.5), std::logic_error);
  EXPECT_THROW(lab_keep_mask(torch::ones({1, 3}, torch::kBool), {1}, 1, 1, 1, 1.5), std::logic_error);
}

}  // namespace
}  // namespace medfuse::model
