#include "cluster/progress.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/without_signals.h"

namespace medfuse::cluster {

using Clock = std::chrono::steady_clock;

/// One caller of wait; made, looked at and unmade under the lock.
class Progress::Waiter {
 public:
  Waiter(Progress& progress, const Task& waited_for) : task(waited_for), progress_(progress) {
    progress_.waiters_.push_back(this);
  }
  ~Waiter() {
    std::erase(progress_.waiters_, this);
    progress_.wake_thread();
  }

  const Task& task;
  AwakeTime time;

 private:
  Progress& progress_;
};

Progress& Progress::instance() {
  static Progress* progress = new Progress;  // outlives MPI and every static object, on purpose
  return *progress;
}

void Progress::set_background(bool on) {
  Lock lock(mutex_);
  background_ = on;
  start_thread();
  wake_thread();
}

void Progress::add(std::shared_ptr<Task> task) {
  Lock lock(mutex_);
  running_.push_back(std::move(task));
  changed_ = Clock::now();
  // The others' turns may hold long sums, for which nobody waits who only starts something.
  const auto mine = std::prev(running_.end());
  if (background_) {
    turn(mine, lock);
  } else {
    turns(lock, false);
  }
  start_thread();
  wake_thread();
}

/// Runs one turn without the lock and returns the next task. No other thread takes a task away that has its turn.
Progress::Tasks::iterator Progress::turn(Tasks::iterator place, Lock& lock) {
  Task& task = **place;
  bool done = false;
  std::exception_ptr failure;
  task.in_turn_ = true;
  lock.unlock();
  try {
    done = task.advance();
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  task.in_turn_ = false;
  if (std::exchange(task.moved_, false)) changed_ = Clock::now();
  if (!done && !failure) return std::next(place);
  changed_ = Clock::now();
  task.state_ = failure ? Task::State::failed : Task::State::done;
  task.failure_ = failure;
  if (given_up_ == place->get()) given_up_ = nullptr;
  if (failure) kept_.push_back(*place);
  return running_.erase(place);
}

void Progress::turns(Lock& lock, bool in_background) {
  for (auto place = running_.begin(); place != running_.end();) {
    if (in_background && !waiters_.empty()) return;  // who waits is quicker
    place = (*place)->in_turn_ ? std::next(place) : turn(place, lock);
  }
}

void Progress::wait(Task& task, std::chrono::milliseconds timeout, int rank) {
  // Yielding keeps the latency low and lets another rank on the same core run; sleeping leaves the core to computation.
  constexpr auto keen = std::chrono::milliseconds(2);
  constexpr auto nap = std::chrono::microseconds(50);
  const auto start = Clock::now();
  Lock lock(mutex_);
  Waiter waiter(*this, task);
  given_up_ = nullptr;
  while (task.state_ == Task::State::running) {
    turns(lock, false);
    if (task.state_ != Task::State::running) break;
    if (waiter.time.look() > timeout && !task.in_turn_) {
      given_up_ = &task;
      given_up_after_ = timeout;
      const std::string missing = name_ranks(task.waits_for());
      communication_error(
          "rank {} waited {:.4g} s in {}{}{}; a peer is hung or gone: look at its node, then run the command again", rank,
          std::chrono::duration<double>(timeout).count(), task.operation(), missing.empty() ? "" : " for ", missing);
    }
    const auto quiet = Clock::now() - std::max(start, changed_);
    lock.unlock();
    if (quiet < keen) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(nap);
    }
    lock.lock();
  }
  if (task.failure_) std::rethrow_exception(task.failure_);
}

std::optional<Pending> Progress::pending() {
  // A turn may change what a task waits for, so it is asked between two of them; whose turns never end says only its name.
  constexpr int tries = 50;
  for (int i = 0;; ++i) {
    {
      const Lock lock(mutex_);
      const Task* const task = waiters_.empty() ? given_up_ : &waiters_.front()->task;
      if (task == nullptr) return std::nullopt;
      const auto waited = waiters_.empty() ? given_up_after_ : std::chrono::duration_cast<std::chrono::milliseconds>(
                                                                   waiters_.front()->time.passed());
      if (!task->in_turn_) return Pending{task->operation(), task->waits_for(), waited};
      if (i == tries) return Pending{task->operation(), {}, waited};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Progress::start_thread() {
  if (!background_ || running_.empty() || stopping_ || thread_.joinable()) return;
  const WithoutSignals inherited;
  thread_ = std::thread([this] { run(); });
}

void Progress::wake_thread() {
  if (asleep_ && needed()) wake_.notify_one();
}

void Progress::run() {
  // What has just begun, moved or ended is likely to move soon; what has not moved for long waits for a peer that computes.
  constexpr auto shortest = std::chrono::microseconds(50);
  constexpr auto longest = std::chrono::microseconds(1000);
  // Tasks come in rows, most of them waited for at once: a look now and then, for a while after the last one, costs less
  // than being woken for each.
  constexpr auto look = std::chrono::microseconds(500);
  constexpr auto attentive = std::chrono::milliseconds(20);
  Lock lock(mutex_);
  while (!stopping_) {
    const auto quiet = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - changed_);
    if (needed()) {
      turns(lock, true);
      wake_.wait_for(lock, std::clamp(quiet / 8, shortest, longest), [this] { return stopping_; });
    } else if (quiet < attentive) {
      wake_.wait_for(lock, look, [this] { return stopping_; });
    } else {
      asleep_ = true;
      wake_.wait(lock, [this] { return stopping_ || needed(); });
      asleep_ = false;
    }
  }
}

void Progress::stop() {
  {
    Lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  Lock lock(mutex_);
  given_up_ = nullptr;
  for (auto& task : running_) kept_.push_back(std::move(task));
  running_.clear();
}

}  // namespace medfuse::cluster
