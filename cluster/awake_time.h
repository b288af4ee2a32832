// Time during which this process ran. A job that was suspended (a laptop's lid, a queue that pauses jobs with SIGSTOP) has
// not been waiting for its peers meanwhile, so whatever waits with a limit counts this time, not the wall clock's.
#pragma once

#include <algorithm>
#include <chrono>

namespace medfuse::cluster {

/// Sums the times between looks, of which the watch must take one at least every few hundred milliseconds.
class AwakeTime {
 public:
  using Clock = std::chrono::steady_clock;
  /// What lies between two looks counts as no more: this process did not run.
  static constexpr Clock::duration longest = std::chrono::seconds(2);

  explicit AwakeTime(Clock::time_point now = Clock::now()) : last_(now) {}
  Clock::duration look(Clock::time_point now = Clock::now()) {
    passed_ += std::min(now - last_, longest);
    last_ = now;
    return passed_;
  }
  /// Up to the last look.
  Clock::duration passed() const { return passed_; }

 private:
  Clock::time_point last_;
  Clock::duration passed_{};
};

}  // namespace medfuse::cluster
