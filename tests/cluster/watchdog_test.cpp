// Phases and their limits. The rules with a clock that the test turns; the thread with short times.
#include "cluster/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace medfuse::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A timer and a clock that the test turns, with a look each 100 ms as the watchdog takes.
class Timer : public testing::Test {
 protected:
  void begin(milliseconds allowed) { timer_.begin({"a phase", allowed, "", {}, 1}, now_); }
  void pass(milliseconds time) {
    for (const auto end = now_ + time; now_ < end;) timer_.look(now_ += milliseconds(100));
  }
  milliseconds lasted() { return timer_.look(now_).lasted; }

  PhaseTimer timer_;
  PhaseTimer::Clock::time_point now_{seconds(1000)};
};

TEST_F(Timer, APhaseIsOverBehindItsLimit) {
  begin(seconds(5));
  pass(seconds(5));
  EXPECT_FALSE(timer_.is_due());
  pass(milliseconds(100));
  EXPECT_TRUE(timer_.is_due());
  EXPECT_EQ(lasted(), milliseconds(5100));
}

TEST_F(Timer, APauseIsKept) {
  begin(seconds(5));
  pass(seconds(6));
  timer_.pause(seconds(3));
  pass(milliseconds(2900));
  EXPECT_FALSE(timer_.is_due());
  pass(milliseconds(100));
  EXPECT_TRUE(timer_.is_due());
}

TEST_F(Timer, TheNextPhaseBeginsAnew) {
  begin(seconds(5));
  pass(seconds(6));
  timer_.pause(seconds(100));
  begin(seconds(5));
  EXPECT_EQ(lasted(), milliseconds(0));
  pass(seconds(6));
  EXPECT_TRUE(timer_.is_due());
}

TEST_F(Timer, WithoutALimitAPhaseMayTakeAnyTime) {
  begin(seconds(0));
  pass(seconds(100000));
  EXPECT_FALSE(timer_.is_due());
}

TEST_F(Timer, ASuspendedProcessDoesNotWait) {
  begin(seconds(5));
  pass(seconds(1));
  now_ += std::chrono::hours(8);  // the lid was closed
  EXPECT_LE(lasted(), seconds(3));
  EXPECT_FALSE(timer_.is_due());
  pass(seconds(5));
  EXPECT_TRUE(timer_.is_due()) << "behind that it counts as before";
}

/// A watchdog that looks each 5 ms, and what it found.
class Dog : public testing::Test {
 protected:
  /// Whether so many findings are there within seconds.
  bool finds(std::size_t count) {
    for (int i = 0; i < 2000; ++i) {
      if (found().size() >= count) return true;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return false;
  }
  std::vector<Phase> found() {
    const std::lock_guard lock(mutex_);
    return found_;
  }

  std::mutex mutex_;
  std::vector<Phase> found_;
  std::atomic<milliseconds::rep> pause_{1000000};
  std::atomic<int> looks_{0};
  Watchdog dog_{[this](const Phase& phase) {
                  const std::lock_guard lock(mutex_);
                  found_.push_back(phase);
                  return milliseconds(pause_);
                },
                [this] { ++looks_; }, milliseconds(5)};
};

TEST_F(Dog, FindsThePhaseThatIsOver) {
  dog_.begin("short", seconds(100));
  dog_.begin("step 12 of stage fusion", milliseconds(30), "timeout.step");
  ASSERT_TRUE(finds(1));
  const Phase phase = found().front();
  EXPECT_EQ(phase.name, "step 12 of stage fusion");
  EXPECT_EQ(phase.option, "timeout.step");
  EXPECT_EQ(phase.allowed, milliseconds(30));
  EXPECT_GT(phase.lasted, milliseconds(30));
  EXPECT_EQ(phase.number, dog_.now().number);
}

TEST_F(Dog, ComesAgainBehindThePause) {
  pause_ = 20;
  dog_.begin("long", milliseconds(10));
  ASSERT_TRUE(finds(3));
  const auto all = found();
  EXPECT_GE(all[1].lasted, all[0].lasted + milliseconds(20));
  EXPECT_GE(all[2].lasted, all[1].lasted + milliseconds(20));
}

TEST_F(Dog, LeavesPhasesInTimeAlone) {
  for (int i = 0; i < 50; ++i) {
    dog_.begin("step", seconds(5));
    std::this_thread::sleep_for(milliseconds(1));
  }
  dog_.rest();
  const int looks = looks_;
  while (looks_ < looks + 10) std::this_thread::sleep_for(milliseconds(2));
  EXPECT_TRUE(found().empty());
}

TEST_F(Dog, APhaseThatEndsWhileItIsJudgedTakesNoPauseAlong) {
  dog_.stop();
  std::atomic<int> judged{0};
  Watchdog dog(
      [&](const Phase&) {
        dog.begin("the next", milliseconds(10));  // as the program may at any time
        ++judged;
        return std::chrono::hours(1);
      },
      {}, milliseconds(5));
  dog.begin("over", milliseconds(10));
  for (int i = 0; i < 2000 && judged < 3; ++i) std::this_thread::sleep_for(milliseconds(2));
  EXPECT_GE(judged, 3);
}

TEST_F(Dog, MayBeToldFromSeveralThreadsAndStoppedTwice) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 200; ++i) {
        dog_.begin("step", milliseconds(1));
        EXPECT_LE(dog_.now().lasted, seconds(10));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  dog_.stop();
  const int looks = looks_;
  dog_.begin("nobody looks", milliseconds(1));
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(looks_, looks);
  dog_.stop();
}

}  // namespace
}  // namespace medfuse::cluster
