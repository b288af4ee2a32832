// Moves everything forward that is under way on this rank. MPI does nothing between calls, so somebody has to call it.
// Whoever waits for one collective gives all of them their turn: ranks that wait in different orders cannot block each
// other. While nobody waits a thread of its own does, so that collectives go on while the program computes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/awake_time.h"
#include "cluster/pending.h"

namespace medfuse::cluster {

/// Something that needs turns until it is finished. It owns the buffers that MPI reads and writes.
class Task {
 public:
  virtual ~Task() = default;
  /// "all_reduce of 4096 x f32 among 4 ranks": for messages.
  virtual const std::string& operation() const = 0;
  /// Ranks of the world that it waits for, in order; may be empty. Not asked during a turn.
  virtual std::vector<int> waits_for() const = 0;

 protected:
  /// One turn, on any thread but never on two at once: never blocks, returns true once finished, throws
  /// Error(communication) if it failed.
  virtual bool advance() = 0;
  /// To be called in a turn that has achieved something: then the next is given sooner.
  void has_moved() { moved_ = true; }

 private:
  friend class Progress;
  enum class State { running, done, failed };
  State state_ = State::running;
  bool in_turn_ = false;
  bool moved_ = false;
  std::exception_ptr failure_;
};

/// A list of tasks. Safe to use from several threads.
class Progress : public PendingSource {
 public:
  /// The one of this process.
  static Progress& instance();

  Progress() = default;
  ~Progress() { stop(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Whether tasks move while nobody waits. Off at first: the thread that moves them calls MPI while the program may do
  /// the same, which takes MPI_THREAD_MULTIPLE. It starts with the first task that needs it, and sleeps between turns.
  void set_background(bool on);
  /// Takes the task in and gives it its first turn, before it returns.
  void add(std::shared_ptr<Task> task);
  /// Returns once the task is finished. Throws its failure, or Error(communication) naming this rank, the operation and
  /// who is missing after `timeout`. After a timeout the task still gets its turns: MPI may still write to its buffers.
  void wait(Task& task, std::chrono::milliseconds timeout, int rank);
  /// What the caller of wait who has waited longest waits for, or the last of them gave up.
  std::optional<Pending> pending() override;
  /// Before MPI ends: no task gets another turn. Ends the thread; harmless if called again.
  void stop();

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Tasks = std::list<std::shared_ptr<Task>>;
  class Waiter;

  Tasks::iterator turn(Tasks::iterator task, Lock& lock);
  void turns(Lock& lock, bool in_background);
  bool needed() const { return background_ && waiters_.empty() && !running_.empty(); }
  void start_thread();
  void wake_thread();
  void run();

  std::mutex mutex_;  ///< guards all that follows, and is free while a task has its turn
  Tasks running_;
  /// Never freed: MPI has no way to take back a request of a failed exchange, so its buffers must stay.
  std::vector<std::shared_ptr<Task>> kept_;
  std::vector<const Waiter*> waiters_;  ///< in the order in which they came
  const Task* given_up_ = nullptr;      ///< the last that was waited for in vain, while it has not finished after all
  std::chrono::milliseconds given_up_after_{0};
  std::chrono::steady_clock::time_point changed_;  ///< when a task came, moved or ended
  bool background_ = false, stopping_ = false;
  bool asleep_ = false;  ///< the thread, until it is needed
  std::condition_variable wake_;
  std::thread thread_;
  Registration registration_{*this};  ///< last: from here on it may be asked
};

}  // namespace medfuse::cluster
