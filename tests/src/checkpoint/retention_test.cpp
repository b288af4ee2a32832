// Which checkpoints stay: the newest, every n-th, the best; and none goes for one that cannot be opened.
#include "src/checkpoint/retention.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <fstream>
#include <optional>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/tensors.h"
#include "src/checkpoint/writer.h"
#include "tests/src/checkpoint/temporary_folder.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;

class RetentionTest : public testing::Test {
 protected:
  void save_step(std::int64_t step, const Retention& retention, std::optional<double> score = {}) {
    const nlohmann::json extra = score ? nlohmann::json{{"score", *score}} : nlohmann::json::object();
    save(folder_.path(), step, {replicated("p", at::full({3}, step))}, extra, Team::alone(), retention);
  }
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> list;
    for (const FolderEntry& entry : entries(folder_.path())) list.push_back(entry.step);
    return list;
  }
  TemporaryFolder folder_;
};

using Steps = std::vector<std::int64_t>;

TEST_F(RetentionTest, EveryNthStays) {
  for (std::int64_t step = 10; step <= 100; step += 10) save_step(step, {.keep = 2, .every = 40});
  EXPECT_EQ(steps(), (Steps{40, 80, 90, 100}));
}

// A stage of 4 steps, then one of 12, each saved every third step and at its end.
TEST_F(RetentionTest, EveryNthOfAStageStays) {
  const auto save_in_stage = [&](std::int64_t step, std::int64_t of_stage) {
    save(folder_.path(), step, {replicated("p", at::full({3}, step))}, {{"step", of_stage}}, Team::alone(),
         {.keep = 1, .every = 6});
  };
  save_in_stage(3, 3);
  save_in_stage(4, 0);
  for (std::int64_t step = 3; step <= 9; step += 3) save_in_stage(4 + step, step);
  save_in_stage(16, 0);
  EXPECT_EQ(steps(), (Steps{4, 10, 16}));
}

TEST_F(RetentionTest, TheBestStays) {
  const std::vector<double> scores = {0.5, 0.8, 0.7, 0.6, 0.6};
  for (std::size_t i = 0; i < scores.size(); ++i) save_step(static_cast<std::int64_t>(i) + 1, {.keep = 1}, scores[i]);
  EXPECT_EQ(steps(), (Steps{2, 5}));
  save_step(6, {.keep = 1}, 0.8);  // of equals the newest
  EXPECT_EQ(steps(), (Steps{6}));
  save_step(7, {.keep = 1});       // without a score
  EXPECT_EQ(steps(), (Steps{6, 7}));
  save_step(8, {.keep = 1, .best = false}, 0.1);
  EXPECT_EQ(steps(), (Steps{8}));
}

TEST_F(RetentionTest, WhatCannotBeOpenedNeverTakesAPlace) {
  for (const std::int64_t step : {1, 2, 3}) save_step(step, {.keep = 3});
  std::ofstream(folder_.path() / step_name(3) / "manifest.json") << "{}";
  save_step(4, {.keep = 3, .every = 3});
  EXPECT_EQ(steps(), (Steps{1, 2, 3, 4}));
  save_step(5, {.keep = 2, .every = 3});  // the damaged one is older than two sound ones, and marked only if it opened
  EXPECT_EQ(steps(), (Steps{4, 5}));
}

TEST_F(RetentionTest, ACourseThatWasLeftGoesEvenIfItWasTheBest) {
  save_step(10, {}, 0.5);
  save_step(20, {}, 0.9);
  save_step(15, {}, 0.4);
  EXPECT_EQ(steps(), (Steps{10, 15}));
}

}  // namespace
}  // namespace medfuse::checkpoint
