// This process's place in the job: MPI start-up and end, rank, node, and a small control plane for host data.
// A program started without mpirun is a job of one rank. How ranks agree on an error: see cluster/together.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/launcher.h"

namespace medfuse::cluster {

class JobWatch;
class MpiGroup;

enum class Combine { sum, min, max };

/// For collectives whose time a watchdog keeps.
inline constexpr auto no_limit = std::chrono::hours(24 * 365);

/// How long MPI may take where all ranks must come and none has anything else to do.
struct ProcessLimits {
  std::chrono::milliseconds start = std::chrono::minutes(30);
  std::chrono::milliseconds end = std::chrono::minutes(10);
};

/// Owns MPI from construction to destruction (unless MPI was already started by someone else, who then ends it).
/// Every control-plane call is collective: all ranks make the same calls in the same order, from one thread. None waits
/// longer than the timeout: then it throws Error(communication) naming the rank and the operation.
class Process {
 public:
  /// Throws Error(communication) if MPI cannot start or gives less than MPI_THREAD_MULTIPLE.
  explicit Process(int* argc = nullptr, char*** argv = nullptr, const ProcessLimits& limits = {});
  /// Ends MPI, for which it waits until every rank comes here. Destroyed by an exception that only this rank has, it ends
  /// the whole job with MPI_Abort instead; to have the error printed and its code kept, use run_job of cluster/together.h.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }  ///< rank among those of the same node
  int local_size() const { return local_size_; }  ///< ranks on this node
  const std::string& host() const { return hosts_[static_cast<std::size_t>(rank_)]; }
  const std::vector<std::string>& hosts() const { return hosts_; }  ///< the nodes' names, by rank
  /// What the launcher promised; to be compared with rank() and size() by launch_conflict().
  const Launch& launch() const { return launch_; }

  /// `root`'s text everywhere.
  std::string broadcast(const std::string& text, int root = 0);
  /// Every rank's text in rank order on `root`; an empty list elsewhere.
  std::vector<std::string> gather(const std::string& text, int root = 0);
  /// Every rank's text in rank order, on every rank.
  std::vector<std::string> all_gather(const std::string& text);
  /// Elementwise over all ranks; every rank gives as many values. Sums are in rank order, so that the bits repeat.
  std::vector<double> all_reduce(const std::vector<double>& values, Combine combine);
  std::vector<std::int64_t> all_reduce(const std::vector<std::int64_t>& values, Combine combine);
  double all_reduce(double value, Combine combine) { return all_reduce(std::vector<double>{value}, combine).front(); }
  std::int64_t all_reduce(std::int64_t value, Combine combine) {
    return all_reduce(std::vector<std::int64_t>{value}, combine).front();
  }
  /// Returns once every rank has called it.
  void barrier();

  /// How long a control-plane call may take before a peer is called hung (default 10 minutes).
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  std::chrono::milliseconds timeout() const { return timeout_; }

  /// Is told what this rank is about, and ends the job when that takes too long.
  JobWatch& watch() { return *watch_; }

  /// For cluster/together.h: an exception that now leaves this object's scope leaves it on all ranks.
  void set_leaving_together() { leaving_together_ = true; }

 private:
  template <class T>
  std::vector<T> reduce(const std::vector<T>& values, Combine combine);

  Launch launch_ = read_launch();  // before MPI starts
  ProcessLimits limits_;
  std::unique_ptr<JobWatch> watch_;
  bool started_here_ = false;
  bool leaving_together_ = false;
  std::shared_ptr<MpiGroup> control_;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  std::vector<std::string> hosts_;
  std::chrono::milliseconds timeout_ = std::chrono::minutes(10);
};

}  // namespace medfuse::cluster
