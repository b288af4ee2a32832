// How long each part of a job may take: the options timeout.*, told to the watchdog as the job goes on. What hangs beyond that
// ends the job with exit code 4. The collectives themselves then need no limit.
#pragma once

#include <chrono>
#include <string>

#include "cluster/process.h"
#include "cluster/watchdog.h"
#include "src/train/options.h"
#include "src/train/trainer.h"

namespace medfuse::launch {

class Patience {
 public:
  /// From here on the process's own collectives have no limit, and "starting" is what it is about.
  Patience(cluster::Process& process, const train::TimeoutOptions& limits);
  /// From now on it is about this.
  void enter(train::Part part, const std::string& what);

 private:
  cluster::Watchdog& watchdog_;
  train::TimeoutOptions limits_;
  bool stepping_ = false;                       ///< what is under way is a step
  std::chrono::milliseconds longest_step_{0};
};

/// Before the options are checked: for the start of MPI.
std::chrono::milliseconds start_limit(const train::TimeoutOptions& limits);

}  // namespace medfuse::launch
