// One NCCL communicator and its life: non-blocking start, polling, a watch over what is under way, and abort as soon as
// anything fails or hangs. Knows no streams and no tensors, so that a mock of NCCL can drive it without a GPU.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/nccl_api.h"
#include "cluster/pending.h"

namespace medfuse::cluster {

/// Every failure aborts the communicator (its kernels then end, on this rank), is kept, and is thrown as
/// Error(communication) by every later call.
class NcclGroup : public PendingSource {
 public:
  using Call = std::function<ncclResult_t(ncclComm_t)>;

  /// Joins `size` ranks under a common id. `world_rank` is for messages. Collective; polls until all are there. In it
  /// and its parts the thread that asks for `finished` (see watch) begins with `on_watch`; if it throws, they fail.
  NcclGroup(const NcclApi& api, const ncclUniqueId& id, int size, int rank, int world_rank,
            std::chrono::milliseconds timeout, std::function<void()> on_watch = {});
  /// Leaves in peace (collective), or aborts if something failed or an exception unwinds.
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// A group of the members with the same colour. Collective.
  std::unique_ptr<NcclGroup> split(int colour, int order);

  /// Puts one collective under way and polls until NCCL has taken it.
  void issue(const std::string& operation, const Call& call);
  /// The same for sends and receives, which NCCL takes as one: none of them waits for another.
  void issue_together(const std::string& operation, const std::vector<Call>& calls);
  /// From now on `finished` is asked (by another thread) until it is true; if that takes longer than the timeout, counted
  /// from when its predecessor finished, or NCCL reports an error meanwhile, the communicator is aborted.
  void watch(const std::string& operation, std::function<bool()> finished);
  /// Throws what failed, if anything did.
  void check();

  void set_timeout(std::chrono::milliseconds timeout);

  /// The first operation under way. NCCL does not say whom it waits for.
  std::optional<Pending> pending() override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Watched {
    std::string operation;
    std::function<bool()> finished;
  };

  NcclGroup(const NcclApi& api, ncclComm_t comm, int world_rank, std::chrono::milliseconds timeout,
            std::function<void()> on_watch);
  class Settling;
  /// Polls the communicator until it is no longer busy with `operation`.
  void settle(ncclComm_t comm, ncclResult_t result, const std::string& operation);
  std::string words(ncclResult_t result, const std::string& operation) const;
  std::string late(const std::string& operation) const;
  std::string thrown(const std::exception& error, const std::string& operation) const;
  void fail(const std::string& message);
  [[noreturn]] void fail_and_throw(const std::string& message);
  void watch_loop();
  std::string look();  ///< one look at the watched operations: what failed, or empty

  const NcclApi& api_;
  int rank_ = 0;
  int size_ = 0;
  int world_rank_;
  std::function<void()> on_watch_;
  /// Of a split under way. NCCL's own thread stores it when the split ends, maybe after split() has thrown what failed
  /// meanwhile: so it lives here, and not in split().
  ncclComm_t part_ = nullptr;

  std::mutex mutex_;  ///< guards everything below
  std::condition_variable changed_;
  ncclComm_t comm_ = nullptr;  ///< null once aborted
  std::string failure_;
  std::chrono::milliseconds timeout_;
  std::deque<Watched> watched_;
  Clock::time_point front_since_;
  std::string settling_;  ///< what is being polled; empty: nothing
  Clock::time_point settling_since_;
  bool stopping_ = false;
  std::thread watcher_;
  Registration registration_{*this};  ///< last: from here on it may be asked
};

}  // namespace medfuse::cluster
