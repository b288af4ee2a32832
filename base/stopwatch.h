// How long something takes.
#pragma once

#include <chrono>

namespace medfuse {

/// Runs from its construction, on a steady clock.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point begin_ = Clock::now();
};

}  // namespace medfuse
