// A wish to stop that comes at a certain moment of a run.
#pragma once

#include <cstdint>
#include <string>

#include "src/train/stop_requests.h"

namespace medfuse::train {

/// Asks for a stop at the n-th question; 0: never. The first comes before the first step, the next ones behind steps.
class StopAt : public StopRequests {
 public:
  explicit StopAt(int question) : question_(question) {}
  std::int64_t vote() override { return ++asked_ == question_ ? 1 : 0; }
  std::string reason(std::int64_t) const override { return "the test"; }

 private:
  int question_, asked_ = 0;
};

}  // namespace medfuse::train
