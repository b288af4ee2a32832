// The error that lets a run fall back to an older checkpoint.
#pragma once

#include <string>

#include "base/error.h"

namespace medfuse::checkpoint {

/// A checkpoint that does not hold what was written: an older one may still do (exit code 3).
class DamagedError : public Error {
 public:
  explicit DamagedError(const std::string& message) : Error(ExitCode::data, message) {}
};

}  // namespace medfuse::checkpoint
