// When Slurm will end this job, asked on a thread of its own and asked again, since limits change while a job runs. Slurm
// 23.02 and newer also tell it in SLURM_JOB_END_TIME, which serves until the first answer.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/program_output.h"

namespace medfuse::cluster {

using WallTime = std::chrono::system_clock::time_point;

/// What `squeue -o %e` printed. The earliest of several lines counts (parts of a heterogeneous job).
struct EndTime {
  bool understood = false;
  std::optional<WallTime> time = {};  ///< none: the job has no limit, or none yet
};
/// Seconds since 1970, or local time as 2025-11-27T16:20:00; N/A, NONE, Unknown and UNLIMITED are no limit.
EndTime read_end_time(const std::string& text);

class SlurmLimit {
 public:
  /// The question, asked on the limit's thread; in programs it is put to squeue.
  using Ask = std::function<ProgramOutput(const WakeUp& wake)>;

  /// Asks at once and then every `every` seconds, as long as the object lives.
  SlurmLimit(Ask ask, double every, std::optional<WallTime> first = {});
  /// Ends a question under way.
  ~SlurmLimit();
  SlurmLimit(const SlurmLimit&) = delete;
  SlurmLimit& operator=(const SlurmLimit&) = delete;

  /// Nothing outside a Slurm job, and with `every` 0.
  static std::unique_ptr<SlurmLimit> of_this_job(double every);

  /// The newest answer. For any thread; never waits.
  std::optional<WallTime> end() const;
  /// What happened since the last call, as lines for people: a new or changed limit, and once a failing question.
  std::vector<std::string> news();

 private:
  void run();
  void take(const ProgramOutput& output);

  Ask ask_;
  double every_;
  mutable std::mutex mutex_;  ///< guards the next four
  std::optional<WallTime> end_;
  std::optional<WallTime> told_;
  std::vector<std::string> news_;
  bool warned_ = false;
  WakeUp wake_;
  std::thread thread_;
};

}  // namespace medfuse::cluster
