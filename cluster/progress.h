// Moves everything forward that is under way on this rank. MPI does nothing between calls, so whoever waits for one
// collective gives all of them their turn: ranks that wait in different orders cannot block each other.
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace medfuse::cluster {

/// Something that needs turns until it is finished. It owns the buffers that MPI reads and writes.
class Task {
 public:
  virtual ~Task() = default;
  /// "all_reduce of 4096 x f32 among 4 ranks": for messages.
  virtual const std::string& operation() const = 0;
  /// Whom it waits for: "rank 2" or "ranks 2, 3"; may be empty.
  virtual std::string waits_for() const = 0;

 protected:
  /// One turn: never blocks, returns true once finished, throws Error(communication) if it failed.
  virtual bool advance() = 0;

 private:
  friend class Progress;
  enum class State { running, done, failed };
  State state_ = State::running;
  std::exception_ptr failure_;
};

/// The one list of tasks of this process. Safe to use from several threads.
class Progress {
 public:
  static Progress& instance();

  /// Takes the task in and gives it its first turn.
  void add(std::shared_ptr<Task> task);
  /// One turn for every task. A failure is kept for the one who waits for that task.
  void turn();
  /// Returns once the task is finished. Throws its failure, or Error(communication) naming this rank, the operation and
  /// who is missing after `timeout`. After a timeout the task still gets its turns: MPI may still write to its buffers.
  void wait(Task& task, std::chrono::milliseconds timeout, int rank);
  /// Before MPI ends: no task gets another turn.
  void stop();

 private:
  bool turn_locked(const Task* watched);

  std::mutex mutex_;
  std::vector<std::shared_ptr<Task>> running_;
  /// Never freed: MPI has no way to take back a request of a failed exchange, so its buffers must stay.
  std::vector<std::shared_ptr<Task>> kept_;
};

}  // namespace medfuse::cluster
