// Sees to it that no rank of the job waits or works for ever, and that the job ends with one line that names who held it up:
// a watchdog on this rank, what the ranks know of each other, and the ways to end them all. Covers the start and the end of
// MPI, too.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cluster/inquiry.h"
#include "cluster/watchdog.h"

namespace medfuse::cluster {

class JobWatch {
 public:
  /// Before MPI starts, which is the first phase. `presumed_rank`: what the launcher says, until MPI does.
  JobWatch(int presumed_rank, std::chrono::milliseconds start_allowed);
  ~JobWatch();
  JobWatch(const JobWatch&) = delete;
  JobWatch& operator=(const JobWatch&) = delete;

  /// Once MPI runs: from here on ranks answer each other, until MPI ends. Collective. `hosts`: the nodes' names, by rank.
  void join(int rank, std::vector<std::string> hosts);

  /// Is told what this rank is about, and how long that may take. A rank that waits longer than allowed asks around: while
  /// those whom it waits for are alive and within their own time it goes on waiting. Otherwise the job ends with exit code 4.
  Watchdog& watchdog() { return watchdog_; }

  /// What says whether this job was asked to stop. From then on a rank that has waited for a while asks around earlier: where
  /// one does not answer there is no next step to stop at. An empty function takes it back.
  void set_stop_asked(std::function<bool()> stop_asked);

  /// Prints the line and ends all ranks with this exit code. One of those that fail alike speaks: the lowest.
  [[noreturn]] void end_job(int code, const std::string& message);

 private:
  std::chrono::milliseconds over(const Phase& phase);
  void look();
  void look_for_launcher();
  void look_for_unreachable_ranks();
  /// Ranks that do not answer, and that this one waits for in the phase of this number; and the line on them.
  std::optional<Blame> find_silent(std::uint64_t phase, std::chrono::milliseconds patience, std::string& line);
  bool stop_asked();
  Standing own();
  std::shared_ptr<Inquiry> inquiry();
  void mpi_ends();
  /// Lets lower ranks go first. False: another rank ends the job, or this one has left the phase of this number.
  bool await_turn(Inquiry* inquiry, std::optional<std::uint64_t> phase);
  /// How all ranks stand; empty where they cannot be asked.
  Standings ask(Inquiry* inquiry, std::chrono::milliseconds patience) const;
  /// One thread of this process comes through.
  void claim_end();
  [[noreturn]] void speak_and_end(Inquiry* inquiry, int code, const std::string& line);

  std::atomic<int> rank_;
  std::vector<std::string> hosts_;     ///< does not change once joined
  int launcher_;                       ///< process that started this one
  int mpi_end_key_;                    ///< of an attribute: MPI lets go of it before it ends
  std::atomic<bool> joined_{false};
  std::atomic<bool> ending_{false};
  // Of the watchdog's thread:
  bool told_to_leave_ = false;
  std::uint64_t foreseen_phase_ = 0;   ///< in which rank 0 has waited for long
  std::string foreseen_line_;          ///< whom it waits for in vain, as far as it knows; may be empty
  std::chrono::steady_clock::time_point next_question_;
  std::mutex mutex_;                   ///< guards what follows
  std::shared_ptr<Inquiry> inquiry_;   ///< null before join, behind MPI's end, and with one rank
  std::function<bool()> stop_asked_;
  Watchdog watchdog_;                  ///< last: it calls this object
};

}  // namespace medfuse::cluster
