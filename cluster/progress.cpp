#include "cluster/progress.h"

#include <thread>
#include <utility>

#include "base/error.h"

namespace medfuse::cluster {

using Clock = std::chrono::steady_clock;

Progress& Progress::instance() {
  static Progress* progress = new Progress;  // outlives MPI and every static object, on purpose
  return *progress;
}

void Progress::add(std::shared_ptr<Task> task) {
  std::lock_guard lock(mutex_);
  running_.push_back(std::move(task));
  turn_locked(nullptr);
}

void Progress::turn() {
  std::lock_guard lock(mutex_);
  turn_locked(nullptr);
}

bool Progress::turn_locked(const Task* watched) {
  bool watched_ended = watched && watched->state_ != Task::State::running;
  for (std::size_t i = 0; i < running_.size();) {
    Task& task = *running_[i];
    try {
      if (task.advance()) task.state_ = Task::State::done;
    } catch (...) {
      task.failure_ = std::current_exception();
      task.state_ = Task::State::failed;
    }
    if (task.state_ == Task::State::running) {
      ++i;
      continue;
    }
    watched_ended = watched_ended || &task == watched;
    if (task.state_ == Task::State::failed) kept_.push_back(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return watched_ended;
}

void Progress::wait(Task& task, std::chrono::milliseconds timeout, int rank) {
  // Yielding keeps the latency low and lets another rank on the same core run; sleeping leaves the core to computation.
  constexpr auto keen = std::chrono::milliseconds(2);
  constexpr auto nap = std::chrono::microseconds(50);
  const auto start = Clock::now();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (turn_locked(&task)) break;
    }
    const auto waited = Clock::now() - start;
    if (waited > timeout) {
      std::lock_guard lock(mutex_);
      const std::string missing = task.waits_for();
      communication_error(
          "rank {} waited {:.4g} s in {}{}{}; a peer is hung or gone: look at its node, then run the command again", rank,
          std::chrono::duration<double>(timeout).count(), task.operation(), missing.empty() ? "" : " for ", missing);
    }
    if (waited < keen) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(nap);
    }
  }
  std::lock_guard lock(mutex_);
  if (task.failure_) std::rethrow_exception(task.failure_);
}

void Progress::stop() {
  std::lock_guard lock(mutex_);
  for (auto& task : running_) kept_.push_back(std::move(task));
  running_.clear();
}

}  // namespace medfuse::cluster
