// When a run stops, with a clock, signals, a file and a batch system of the test's own: nobody sleeps here.
#include "src/train/stop_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace medfuse::train {
namespace {

using testing::HasSubstr;

class StopWatchTest : public testing::Test {
 protected:
  StopWatchTest() { options_.margin = 10; }

  StopWatch watch(bool leads = true) {
    StopSurroundings surroundings;
    surroundings.seconds = [this] { return now_; };
    surroundings.signal = [this] { return signal_; };
    surroundings.file_there = [this] {
      ++looks_;
      return file_;
    };
    surroundings.job_seconds_left = [this]() -> std::optional<double> {
      if (!job_end_) return std::nullopt;
      return *job_end_ - now_;
    };
    return {options_, surroundings, leads};
  }
  void step(StopWatch& stop, double seconds) {
    stop.step_begins();
    now_ += seconds;
    stop.step_ended();
  }

  StopOptions options_;
  double now_ = 1000;
  int signal_ = 0;
  bool file_ = false;
  int looks_ = 0;
  std::optional<double> job_end_;
};

TEST_F(StopWatchTest, NothingAsksForAStop) {
  auto stop = watch();
  for (int i = 0; i < 100; ++i) {
    step(stop, 50);
    EXPECT_EQ(stop.vote(), 0);
  }
}

TEST_F(StopWatchTest, ASignalStopsFromAnyRank) {
  for (const bool leads : {true, false}) {
    auto stop = watch(leads);
    signal_ = 0;
    EXPECT_EQ(stop.vote(), 0);
    signal_ = SIGUSR1;
    EXPECT_EQ(stop.vote(), SIGUSR1);
    EXPECT_EQ(stop.early_vote(), SIGUSR1);
    EXPECT_EQ(stop.reason(SIGUSR1), "SIGUSR1");
  }
}

TEST_F(StopWatchTest, OnlyRankZeroLooksAtTheRest) {
  options_.after = 1;
  options_.limit = 20;
  file_ = true;
  job_end_ = now_ + 1;
  auto other = watch(false);
  step(other, 100);
  EXPECT_EQ(other.vote(), 0);
  EXPECT_EQ(looks_, 0);
}

TEST_F(StopWatchTest, TheStopFileIsLookedForOnceASecond) {
  auto stop = watch();
  for (int i = 0; i < 40; ++i) {
    step(stop, 0.25);
    EXPECT_EQ(stop.vote(), 0);
  }
  EXPECT_LE(looks_, 11);
  EXPECT_GE(looks_, 9);
  file_ = true;
  now_ += 1;
  const auto vote = stop.vote();
  EXPECT_GT(vote, 64) << "a signal's number";
  stop.name_file("/runs/mine/stop");
  EXPECT_EQ(stop.reason(vote), "the stop file /runs/mine/stop");
  file_ = false;
  EXPECT_EQ(stop.vote(), vote) << "seen is seen";
}

TEST_F(StopWatchTest, BeforeTrainingTheStopFileIsSomebodyElses) {
  file_ = true;
  auto stop = watch();
  EXPECT_EQ(stop.early_vote(), 0);
  EXPECT_EQ(looks_, 0);
  EXPECT_NE(stop.vote(), 0) << "but not once this run has its folder";
}

TEST_F(StopWatchTest, StopAfterLeavesTimeForAStep) {
  options_.after = 30;
  auto stop = watch();
  now_ += 100;
  EXPECT_EQ(stop.vote(), 0) << "or a run whose start takes longer would never get on";
  step(stop, 1);
  EXPECT_THAT(stop.reason(stop.vote()), HasSubstr("stop.after = 30 s"));
  auto later = watch();
  step(later, 29);
  EXPECT_EQ(later.vote(), 0);
  step(later, 1);
  EXPECT_NE(later.vote(), 0);
}

TEST_F(StopWatchTest, AStepAndASaveMustFitBeforeTheLimit) {
  auto stop = watch();
  step(stop, 20);
  stop.saved(35, 1'000'000);
  stop.will_save(1'000'000);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 20 + 35 + 10);
  job_end_ = now_ + 75.5;
  EXPECT_EQ(stop.vote(), 0);
  now_ += 0.5;
  const auto vote = stop.vote();
  EXPECT_GT(vote, 0);
  EXPECT_EQ(stop.reason(vote), "75 s left of the job's time, a step and a save take up to 75 s");
}

TEST_F(StopWatchTest, ASaveUnderWayComesBeforeTheLastOne) {
  auto stop = watch();
  step(stop, 20);
  stop.saved(35, 1'000'000);
  stop.save_begins();
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 20 + 2 * 35 + 10);
  stop.saved(25, 1'000'000);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 20 + 35 + 10);
}

TEST_F(StopWatchTest, TheLeadFollowsTheSlowestOfLate) {
  auto stop = watch();
  step(stop, 40);
  for (int i = 0; i < 63; ++i) step(stop, 2);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 40 + 10);
  step(stop, 2);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 10) << "the first step is long ago";
  stop.saved(60, 100);
  for (const double seconds : {5, 6, 4}) stop.saved(seconds, 100);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 60 + 10);
  stop.saved(5, 100);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 6 + 10);
}

TEST_F(StopWatchTest, BeforeTheFirstSaveItsBytesSayHowLong) {
  auto stop = watch();
  stop.will_save(2'000'000'000);
  step(stop, 2);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 20 + 10) << "100 MB/s";
  stop.saved(1, 2'000'000'000);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 1 + 10) << "measured";
  stop.will_save(6'000'000'000);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 3 + 10) << "the next stage keeps three times as much";
  stop.will_save(100);
  EXPECT_DOUBLE_EQ(stop.lead(), 1.5 * 2 + 1 + 10);
}

TEST_F(StopWatchTest, ALimitMayMove) {
  auto stop = watch();
  step(stop, 2);
  EXPECT_EQ(stop.vote(), 0) << "no limit";
  job_end_ = now_ + 100;
  EXPECT_EQ(stop.vote(), 0);
  now_ += 80;
  job_end_ = now_ + 1000;
  now_ += 20;
  EXPECT_EQ(stop.vote(), 0) << "it was made longer in time";
  job_end_ = now_ + 12;
  EXPECT_GT(stop.vote(), 0) << "and shorter";
}

TEST_F(StopWatchTest, TheNearerOfTwoLimitsCounts) {
  options_.limit = 60;
  job_end_ = now_ + 1000;
  auto own = watch();
  step(own, 1);
  EXPECT_EQ(own.vote(), 0);
  now_ += 50;
  EXPECT_GT(own.vote(), 0);
  options_.limit = 10000;
  job_end_ = now_ + 5;
  auto job = watch();
  EXPECT_GT(job.vote(), 0);
  EXPECT_GT(job.early_vote(), 0) << "too near even to begin";
  EXPECT_THAT(job.reason(job.vote()), HasSubstr("5 s left"));
}

TEST_F(StopWatchTest, ALimitThatIsOverDoesNotReadAsNegative) {
  job_end_ = now_ - 3;
  auto stop = watch();
  EXPECT_THAT(stop.reason(stop.vote()), HasSubstr("0 s left"));
}

}  // namespace
}  // namespace medfuse::train
