// What the trainer knows of wishes to stop: it asks at each step boundary, and tells how long steps and saves take so that
// the answer can come in time. Where the wishes come from (signals, a file, a time limit) it does not know.
#pragma once

#include <cstdint>
#include <string>

namespace medfuse::train {

/// One for each rank, called from the thread that trains.
class StopRequests {
 public:
  virtual ~StopRequests() = default;

  /// 0: this rank knows no reason to stop. Anything above is one, and the largest of all ranks is agreed on.
  virtual std::int64_t vote() = 0;
  /// The agreed vote in words, asked on rank 0: "SIGUSR1".
  virtual std::string reason(std::int64_t agreed) const = 0;

  virtual void step_begins() {}
  virtual void step_ended() {}
  /// The next checkpoint will have about so many bytes, over all ranks.
  virtual void will_save(std::int64_t /*bytes*/) {}
  /// One is under way from now until saved().
  virtual void save_begins() {}
  /// A checkpoint took so long, from its snapshot until it was complete on the disk.
  virtual void saved(double /*seconds*/, std::int64_t /*bytes*/) {}
};

}  // namespace medfuse::train
