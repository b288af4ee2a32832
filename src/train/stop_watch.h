// Decides when a run has to stop: a signal on any rank; and on rank 0 a stop file, a time that the user set, and a time
// limit that comes so near that another step and a checkpoint would not fit before it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "src/train/options.h"
#include "src/train/stop_requests.h"

namespace medfuse::train {

/// Where a StopWatch looks. Unset functions never ask for anything.
struct StopSurroundings {
  std::function<double()> seconds;                        ///< a steady clock; needed
  std::function<int()> signal;                            ///< that has come; 0: none
  std::function<bool()> file_there;                       ///< rank 0; called about once a second
  std::function<std::optional<double>()> job_seconds_left;  ///< rank 0: until the batch system ends the job
};

class StopWatch : public StopRequests {
 public:
  /// The times of `options` count from now. `leads`: this is rank 0.
  StopWatch(const StopOptions& options, StopSurroundings surroundings, bool leads);

  std::int64_t vote() override;
  /// The same before training begins, when only signals and time limits count: the stop file belongs to whoever trains in
  /// the run folder, and stop.after leaves time for at least one step, or a run would never get on.
  std::int64_t early_vote();
  std::string reason(std::int64_t agreed) const override;
  /// What the reason calls the stop file.
  void name_file(const std::string& file) { options_.file = file; }

  void step_begins() override;
  void step_ended() override;
  void will_save(std::int64_t bytes) override { next_bytes_ = bytes; }
  void save_begins() override { saving_ = true; }
  void saved(double seconds, std::int64_t bytes) override;

  /// Seconds before the limit at which the run must not begin another step: a step half as long again as the slowest of
  /// late, the slowest save of late (for want of one, its bytes at a poor rate; twice if there is one under way, which comes
  /// first), and the margin.
  double lead() const;

 private:
  struct Save {
    double seconds;
    double bytes;
  };
  /// Until the nearer of the user's and the batch system's limit.
  std::optional<double> seconds_left() const;
  bool file_asks();

  StopOptions options_;
  StopSurroundings surroundings_;
  bool leads_;
  double began_;
  double step_began_ = 0;
  std::deque<double> steps_;  ///< seconds of the latest
  std::deque<Save> saves_;    ///< the latest
  std::int64_t next_bytes_ = 0;
  bool saving_ = false;
  bool stepped_ = false;      ///< at least once, by this process
  std::optional<double> file_asked_;  ///< when
  bool file_seen_ = false;
  double left_ = 0, needed_ = 0;  ///< when the limit was found near: for the reason
};

}  // namespace medfuse::train
