#include "cluster/watchdog.h"

#include <utility>

#include "base/without_signals.h"

namespace medfuse::cluster {

void PhaseTimer::begin(Phase phase, Clock::time_point now) {
  phase_ = std::move(phase);
  time_ = AwakeTime(now);
  next_ = {};
}

Phase PhaseTimer::look(Clock::time_point now) {
  phase_.lasted = std::chrono::duration_cast<std::chrono::milliseconds>(time_.look(now));
  return phase_;
}

Watchdog::Watchdog(Over over, Look look, std::chrono::milliseconds every)
    : over_(std::move(over)), look_(std::move(look)), every_(every) {
  const WithoutSignals inherited;
  thread_ = std::thread([this] { run(); });
}

void Watchdog::begin(const std::string& name, std::chrono::milliseconds allowed, const std::string& option) {
  const std::lock_guard lock(mutex_);
  timer_.begin({name, allowed, option, {}, ++begun_});
}

Phase Watchdog::now() {
  const std::lock_guard lock(mutex_);
  return timer_.look();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const Phase phase = timer_.look();
    const bool due = timer_.is_due();
    lock.unlock();
    if (look_) look_();
    const auto pause = due ? over_(phase) : std::chrono::milliseconds(0);
    lock.lock();
    if (due && phase.number == begun_) timer_.pause(pause);
    wake_.wait_for(lock, every_, [this] { return stopping_; });
  }
}

void Watchdog::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace medfuse::cluster
