// Who moves tasks, and when: tasks that are no messages, so no MPI is needed.
#include "cluster/progress.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "base/error.h"

namespace medfuse::cluster {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// Ends when told to, and counts its turns.
class Told : public Task {
 public:
  const std::string& operation() const override { return name_; }
  std::vector<int> waits_for() const override { return {7}; }

  std::atomic<bool> may_end{false}, fails{false};
  std::atomic<int> turns{0}, at_once{0};
  std::atomic<std::chrono::milliseconds::rep> length{0};  ///< of a turn
  std::thread::id last_thread;

 protected:
  bool advance() override {
    EXPECT_EQ(++at_once, 1) << "two threads gave it a turn";
    ++turns;
    last_thread = std::this_thread::get_id();
    std::this_thread::sleep_for(milliseconds(length));
    --at_once;
    if (fails) throw std::runtime_error("broken");
    return may_end;
  }

 private:
  std::string name_ = "a task";
};

/// Whether the condition comes true within seconds.
template <class F>
bool soon(const F& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return false;
}

TEST(Progress, WithoutTheThreadOnlyCallersGiveTurns) {
  Progress progress;
  const auto task = std::make_shared<Told>();
  progress.add(task);
  EXPECT_EQ(task->turns, 1);
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_EQ(task->turns, 1);
  const auto other = std::make_shared<Told>();
  other->may_end = true;
  progress.add(other);
  progress.wait(*other, milliseconds(1000), 0);
  EXPECT_GE(task->turns, 2);
}

TEST(Progress, TheThreadMovesWhatNobodyWaitsFor) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  ASSERT_TRUE(soon([&] { return task->turns > 3; }));
  task->may_end = true;
  ASSERT_TRUE(soon([&] { return task.use_count() == 1; })) << "it is let go of once it has ended";
  const int turns = task->turns;
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(task->turns, turns);
  progress.wait(*task, milliseconds(0), 0);
  EXPECT_NE(task->last_thread, std::this_thread::get_id());

  const auto next = std::make_shared<Told>();  // it wakes again
  progress.add(next);
  EXPECT_TRUE(soon([&] { return next->turns > 3; }));
}

TEST(Progress, TheThreadSleepsBetweenTurns) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(task->turns, 600) << "after a quiet while a turn each millisecond is enough";
  EXPECT_GT(task->turns, 20);
}

TEST(Progress, CanBeTurnedOffAndOn) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  ASSERT_TRUE(soon([&] { return task->turns > 3; }));
  progress.set_background(false);
  std::this_thread::sleep_for(milliseconds(20));
  const int turns = task->turns;
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(task->turns, turns);
  progress.set_background(true);
  EXPECT_TRUE(soon([&] { return task->turns > turns + 3; }));
}

TEST(Progress, AFailureIsKeptForTheOneWhoWaits) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  task->fails = true;
  ASSERT_TRUE(soon([&] { return !task->at_once && task->turns > 1; }));
  for (int i = 0; i < 2; ++i) EXPECT_THROW(progress.wait(*task, milliseconds(1000), 0), std::runtime_error);
}

TEST(Progress, ALongTurnOfOneDoesNotHoldUpTheWaitForAnother) {
  Progress progress;
  progress.set_background(true);
  const auto slow = std::make_shared<Told>();
  progress.add(slow);
  slow->length = 400;
  ASSERT_TRUE(soon([&] { return slow->at_once == 1; }));
  const auto quick = std::make_shared<Told>();
  quick->may_end = true;
  const auto start = Clock::now();
  progress.add(quick);
  progress.wait(*quick, milliseconds(1000), 0);
  EXPECT_LT(Clock::now() - start, milliseconds(200));
  slow->length = 0;
  slow->may_end = true;
  progress.wait(*slow, milliseconds(2000), 0);
}

TEST(Progress, ATimeoutNamesWhoIsMissingAndTheTaskGoesOn) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  std::string message;
  try {
    progress.wait(*task, milliseconds(20), 3);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::communication);
    message = error.what();
  }
  EXPECT_TRUE(message.starts_with("rank 3 waited 0.02 s in a task for rank 7; ")) << message;
  const int turns = task->turns;
  EXPECT_TRUE(soon([&] { return task->turns > turns; }));
  task->may_end = true;
  progress.wait(*task, milliseconds(1000), 3);
}

TEST(Progress, SaysWhatIsWaitedFor) {
  Progress progress;
  progress.set_background(true);
  EXPECT_FALSE(progress.pending());
  const auto task = std::make_shared<Told>();
  progress.add(task);
  EXPECT_FALSE(progress.pending()) << "it is under way, but nobody waits";
  std::thread waiter([&] { progress.wait(*task, milliseconds(60000), 3); });
  ASSERT_TRUE(soon([&] {
    const auto pending = progress.pending();
    return pending && pending->waited >= milliseconds(30);
  }));
  EXPECT_EQ(progress.pending()->operation, "a task");
  EXPECT_EQ(progress.pending()->waits_for, std::vector<int>{7});
  EXPECT_EQ(longest_pending()->operation, "a task");
  task->may_end = true;
  waiter.join();
  EXPECT_FALSE(progress.pending());
}

TEST(Progress, WhatWasGivenUpIsStillMissing) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  EXPECT_THROW(progress.wait(*task, milliseconds(20), 3), Error);
  ASSERT_TRUE(progress.pending());
  EXPECT_EQ(progress.pending()->waits_for, std::vector<int>{7});
  task->may_end = true;
  EXPECT_TRUE(soon([&] { return !progress.pending(); }));
}

TEST(Progress, ATurnThatHangsDoesNotHoldUpTheQuestion) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  task->length = 600;
  ASSERT_TRUE(soon([&] { return task->at_once == 1; }));
  std::thread waiter([&] { progress.wait(*task, milliseconds(60000), 3); });
  const auto start = Clock::now();
  ASSERT_TRUE(soon([&] { return progress.pending().has_value(); }));
  EXPECT_LT(Clock::now() - start, milliseconds(400));
  EXPECT_EQ(progress.pending()->operation, "a task");
  task->length = 0;
  task->may_end = true;
  waiter.join();
}

TEST(Progress, SeveralThreadsMayWait) {
  Progress progress;
  progress.set_background(true);
  std::vector<std::shared_ptr<Told>> tasks;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(std::make_shared<Told>());
    progress.add(tasks.back());
    threads.emplace_back([&progress, task = tasks.back()] { progress.wait(*task, milliseconds(5000), 0); });
  }
  std::this_thread::sleep_for(milliseconds(20));
  for (const auto& task : tasks) task->may_end = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(Progress, AfterTheStopNoTaskGetsATurn) {
  Progress progress;
  progress.set_background(true);
  const auto task = std::make_shared<Told>();
  progress.add(task);
  progress.stop();
  const int turns = task->turns;
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_EQ(task->turns, turns);
  progress.stop();
}

}  // namespace
}  // namespace medfuse::cluster
