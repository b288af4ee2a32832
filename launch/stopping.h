// What can stop a training run, brought together: signals, the stop file, and time limits of the user and of Slurm.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cluster/process.h"
#include "cluster/slurm_limit.h"
#include "cluster/stop_signals.h"
#include "src/train/options.h"
#include "src/train/stop_watch.h"

namespace medfuse::launch {

/// One for each rank. It must live as long as the process still does anything: a signal that comes while a stopped run is
/// leaving must not kill it.
class Stopping {
 public:
  /// From here on signals are noted, and times count. Throws Error(usage) for an unknown signal. `leads`: this is rank 0.
  Stopping(const train::StopOptions& options, bool leads);

  /// Collective, before the loading of weights: whether there is any use in it. Rank 0 says why not.
  bool asked_early(cluster::Process& process);
  /// From here on the stop file counts; it is this run's own, whose lock we hold. `run`: the run's folder.
  void watch_file(const std::filesystem::path& run);
  /// Where lines for people go; an empty function, as at first: standard error.
  void speak_through(std::function<void(const std::string&)> say) { line_taker_ = std::move(say); }
  /// Whether a signal has come. For any thread.
  bool signalled() const { return signals_.received() != 0; }
  /// For the trainer.
  train::StopRequests& requests() { return *watch_; }
  /// Once nothing of the run is at stake: removes the stop file, or the next start would stop as well, and asks Slurm no
  /// more. The signals are still noted.
  void carried_out();

 private:
  void say(const std::string& line) const;
  std::optional<double> job_seconds_left();

  train::StopOptions options_;
  bool leads_;
  std::filesystem::path file_;  // empty: not watched yet
  std::function<void(const std::string&)> line_taker_;
  cluster::StopSignals signals_;
  std::unique_ptr<cluster::SlurmLimit> slurm_;
  std::unique_ptr<train::StopWatch> watch_;
};

}  // namespace medfuse::launch
