// Steps whose loss is not finite: passed over on all ranks alike, then back to the last checkpoint, once, then the end. And
// scores, which the checkpoints of the same step get.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "base/error.h"
#include "cluster/mpi_communicator.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/retention.h"
#include "src/train/stage_parts.h"
#include "src/train/trainer.h"
#include "tests/cluster/test_process.h"
#include "tests/src/train/stop_at.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Counts its good steps in a parameter. `loss` says what a step came to, on this rank.
class CountingStage : public Stage {
 public:
  CountingStage(at::Tensor parameter, std::function<double(std::int64_t step)> loss)
      : parameter_(std::move(parameter)), loss_(std::move(loss)) {}
  const std::string& name() const override { return name_; }
  std::int64_t steps() const override { return 10; }
  double epoch_of(std::int64_t) const override { return 0; }
  StepReport step(std::int64_t step) override {
    StepReport report;
    report.loss_share = loss_(step);
    report.gradient_norm = 1;
    if (std::isfinite(report.loss_share)) parameter_.add_(1);
    return report;
  }
  std::vector<checkpoint::ShardedTensor> state() const override { return {}; }

 private:
  std::string name_ = "fusion";
  at::Tensor parameter_;
  std::function<double(std::int64_t)> loss_;
};

class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(cluster::test_process());
    shared_ = cluster::test_process().broadcast(folder_.path().string());
  }
  void TearDown() override { world_->barrier(); }

  Outcome train(const std::function<double(std::int64_t)>& loss, const Score& score = {}, int stop_at = 0) {
    StopAt stop(stop_at);
    Trainer::StagePlan plan{"fusion", 10, [&] { return std::make_unique<CountingStage>(parameter_, loss); }, score};
    Observer observer;
    observer.message = [this](const std::string& line) { messages_.push_back(line); };
    observer.begun = [this](const std::string&, std::int64_t step, std::int64_t) { begun_.push_back(step); };
    observer.stepped = [this](const StepRecord& record) { records_.push_back(record); };
    const TrainerOptions options{.checkpoints = {std::filesystem::path(shared_) / "checkpoints", {.keep = 1}, ""},
                                 .checkpoint_every = 4,
                                 .background = false,
                                 .validate_every = score ? 2 : 0,
                                 .bad_steps = bad_steps_,
                                 .stop = &stop};
    return Trainer(options, {plan}, {checkpoint::replicated("count", parameter_)}, Ranks(*world_, *world_), observer).run();
  }
  /// NaN on the last rank alone.
  double bad() const { return world_->rank() + 1 == world_->size() ? nan : 0.0; }

  tiny::TempFolder folder_;
  std::string shared_;
  std::unique_ptr<cluster::Communicator> world_;
  at::Tensor parameter_ = at::zeros({1});
  std::int64_t bad_steps_ = 2;
  std::vector<std::string> messages_;
  std::vector<std::int64_t> begun_;
  std::vector<StepRecord> records_;
};

TEST_F(GuardTest, OneBadStepIsPassedOver) {
  train([this](std::int64_t step) { return step == 2 || step == 6 ? bad() : 1.0; });
  EXPECT_EQ(records_.size(), 10u);
  EXPECT_TRUE(std::isnan(records_[2].loss)) << "all ranks see it";
  EXPECT_EQ(begun_, (std::vector<std::int64_t>{0}));
  EXPECT_THAT(messages_, Contains(HasSubstr("step 3: loss nan")));
}

TEST_F(GuardTest, BadStepsInARowGoBackOnce) {
  // A fault of the machine: gone the second time.
  std::multiset<std::int64_t> seen;
  train([&](std::int64_t step) {
    seen.insert(step);
    return (step == 5 || step == 6) && seen.count(step) == 1 ? bad() : 1.0;
  });
  EXPECT_EQ(begun_, (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(parameter_.item<float>(), 10) << "the parameter is that of the checkpoint, and then counts on";
  EXPECT_EQ(seen.count(4), 2u);
}

TEST_F(GuardTest, TheSecondTimeIsTheEnd) {
  try {
    train([this](std::int64_t step) { return step == 5 || step == 6 ? bad() : 1.0; });
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numeric);
    EXPECT_THAT(error.what(), HasSubstr("again after going back"));
  }
  EXPECT_EQ(begun_, (std::vector<std::int64_t>{0, 4}));
}

// Of ten steps every other one is bad: never two in a row, but steps 4 and 8, where a checkpoint is due, are.
TEST_F(GuardTest, NoCheckpointIsBegunInARowOfBadSteps) {
  train([this](std::int64_t step) { return step % 2 == 1 ? bad() : 1.0; });
  const auto newest = checkpoint::Reader::newest(std::filesystem::path(shared_) / "checkpoints");
  EXPECT_EQ(checkpoint::Reader(newest.value()).step(), 10);
  EXPECT_EQ(std::count_if(messages_.begin(), messages_.end(),
                          [](const std::string& line) { return line.starts_with("step-"); }), 1);
}

TEST_F(GuardTest, AStageWithoutAGoodStepIsNoStage) {
  bad_steps_ = 100;
  EXPECT_THROW(train([this](std::int64_t) { return bad(); }), Error);
  EXPECT_EQ(records_.size(), 10u);
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(shared_) / "checkpoints"));
}

TEST_F(GuardTest, WithoutACheckpointThereIsNoWayBack) {
  try {
    train([this](std::int64_t step) { return step < 2 ? bad() : 1.0; });
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numeric);
    EXPECT_THAT(error.what(), HasSubstr("no checkpoint to go back to"));
  }
}

TEST_F(GuardTest, ScoresGoIntoTheRecordsAndTheCheckpoints) {
  const std::vector<double> scores = {0.5, 0.9, 0.6, 0.7, 0.8};  // at steps 2, 4, 6, 8, 10
  std::size_t next = 0;
  train([](std::int64_t) { return 1.0; }, [&](const auto&) { return scores[next++]; });
  EXPECT_EQ(next, scores.size());
  for (const StepRecord& record : records_) {
    EXPECT_EQ(record.others.size(), record.step % 2 == 0 ? 1u : 0u) << record.step;
  }
  const auto folder = std::filesystem::path(shared_) / "checkpoints";
  // Saved at 4, 8 and 10; the newest and the best stay.
  EXPECT_EQ(checkpoint::Reader(*checkpoint::Reader::newest(folder)).extra().at("score"), 0.8);
  const checkpoint::Reader best(checkpoint::best_checkpoint(folder).value());
  EXPECT_EQ(best.step(), 4);
  EXPECT_EQ(best.extra().at("score"), 0.9);
}

// Question 1 comes before the first step, 1 + n behind step n.
TEST_F(GuardTest, AStopDoesNotMakeTheLastStepTheOnlyOne) {
  const auto loss = [this](std::int64_t step) { return step == 9 ? bad() : 1.0; };
  EXPECT_EQ(train(loss, {}, 10), Outcome::stopped);
  EXPECT_EQ(train(loss), Outcome::finished) << "as without the stop: one bad step is passed over";
  EXPECT_EQ(begun_, (std::vector<std::int64_t>{0, 9}));
}

TEST_F(GuardTest, AStopDoesNotEndARowOfBadSteps) {
  bad_steps_ = 3;
  int bad_steps = 3;
  const auto loss = [&](std::int64_t step) { return step >= 5 && bad_steps-- > 0 ? bad() : 1.0; };
  EXPECT_EQ(train(loss, {}, 8), Outcome::stopped);  // behind two of them
  EXPECT_EQ(train(loss), Outcome::finished);
  EXPECT_THAT(messages_, Contains(HasSubstr("step 8: loss nan, gradient norm 1: not finite 3 times in a row")));
  EXPECT_EQ(begun_, (std::vector<std::int64_t>{0, 7, 7}));
  EXPECT_EQ(records_.size(), 7u + 1 + 3);
}

TEST_F(GuardTest, AStopDoesNotWaitForAScore) {
  int passes = 0;
  const Score score = [&](const std::function<bool()>& stop) -> std::optional<double> {
    for (int pass = 0; pass < 5; ++pass, ++passes) {
      if (stop()) return std::nullopt;
    }
    return 0.5;
  };
  // Steps 1 and 2, then in the midst of scoring the latter.
  EXPECT_EQ(train([](std::int64_t) { return 1.0; }, score, 5), Outcome::stopped);
  EXPECT_EQ(passes, 2);
  EXPECT_EQ(records_.size(), 2u);
  EXPECT_TRUE(records_.back().others.empty());
  const auto folder = std::filesystem::path(shared_) / "checkpoints";
  EXPECT_EQ(checkpoint::Reader(*checkpoint::Reader::newest(folder)).step(), 2);
  EXPECT_FALSE(checkpoint::best_checkpoint(folder));
  // What was left off comes first.
  EXPECT_EQ(train([](std::int64_t) { return 1.0; }, score), Outcome::finished);
  EXPECT_THAT(messages_, Contains(HasSubstr("step 2 of stage fusion, whose score a stop had left off: validation_auroc 0.5")));
  EXPECT_EQ(passes, 2 + 5 * 5);
  EXPECT_EQ(parameter_.item<float>(), 10);
}

TEST_F(GuardTest, TheScoreOfTheLastStepIsMadeUpFor) {
  bool stops = true;
  const Score score = [&](const std::function<bool()>& stop) -> std::optional<double> {
    return stops && parameter_.item<float>() == 10 && stop() ? std::nullopt : std::optional(parameter_.item<float>() / 10);
  };
  const auto good = [](std::int64_t) { return 1.0; };
  const auto newest = [folder = std::filesystem::path(shared_) / "checkpoints"] {
    return checkpoint::Reader(*checkpoint::Reader::newest(folder));
  };
  EXPECT_EQ(train(good, score, 11), Outcome::stopped);  // asked before each step but for its score
  EXPECT_EQ(newest().step(), 10);
  EXPECT_FALSE(newest().extra().contains("score"));
  EXPECT_EQ(train(good, score, 1), Outcome::not_begun);  // it comes again
  EXPECT_FALSE(newest().extra().contains("score"));
  stops = false;
  EXPECT_EQ(train(good, score), Outcome::finished);
  EXPECT_EQ(newest().extra().at("score"), 1.0);
  EXPECT_FALSE(newest().extra().contains("score_left_off"));
  EXPECT_EQ(records_.size(), 10u);
  messages_.clear();
  EXPECT_EQ(train(good, score), Outcome::finished);
  EXPECT_THAT(messages_, testing::Not(Contains(HasSubstr("left off"))));
}

// What makes a bad loss known to all: it spoils the gradient, and a good one is left alone to the bit.
TEST_F(GuardTest, ABadLossSpoilsEveryGradient) {
  const at::Tensor x = at::full({3}, 0.7, at::kDouble).requires_grad_();
  guarded((x * x).sum()).backward();
  EXPECT_TRUE(at::equal(x.grad(), 2 * x.detach()));
  for (const double wrong : {nan, std::numeric_limits<double>::infinity()}) {
    const at::Tensor y = at::full({3}, 0.7, at::kDouble).requires_grad_();
    guarded(y.sum() + wrong).backward();
    EXPECT_TRUE(at::isnan(y.grad()).all().item<bool>());
  }
}

}  // namespace
}  // namespace medfuse::train
