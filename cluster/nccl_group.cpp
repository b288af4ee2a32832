#include "cluster/nccl_group.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/without_signals.h"

namespace medfuse::cluster {

namespace {

/// NCCL takes most calls within microseconds, while the caller computes nothing; what takes longer waits for peers.
constexpr auto keen = std::chrono::milliseconds(1);
constexpr auto poll_pause = std::chrono::microseconds(200);
constexpr auto watch_pause = std::chrono::milliseconds(10);
constexpr auto farewell = std::chrono::seconds(30);  ///< how long peers may take to leave in peace

ncclConfig_t nonblocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

}  // namespace

NcclGroup::NcclGroup(const NcclApi& api, const ncclUniqueId& id, int size, int rank, int world_rank,
                     std::chrono::milliseconds timeout, std::function<void()> on_watch)
    : api_(api), rank_(rank), size_(size), world_rank_(world_rank), on_watch_(std::move(on_watch)), timeout_(timeout) {
  check_nccl_version(api_);
  const std::string operation = fmt::format("the start of NCCL among {} ranks", size);
  ncclConfig_t config = nonblocking();
  const ncclResult_t result = api_.init(&comm_, size, id, rank, &config);
  settle(comm_, result, operation);
}

NcclGroup::NcclGroup(const NcclApi& api, ncclComm_t comm, int world_rank, std::chrono::milliseconds timeout,
                     std::function<void()> on_watch)
    : api_(api), world_rank_(world_rank), on_watch_(std::move(on_watch)), comm_(comm), timeout_(timeout) {
  settle(comm_, ncclInProgress, "the split of an NCCL communicator");
  try {
    MEDFUSE_NCCL(api_, count, comm_, &size_);
    MEDFUSE_NCCL(api_, user_rank, comm_, &rank_);
  } catch (const Error& error) {
    fail_and_throw(error.what());
  }
}

NcclGroup::~NcclGroup() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  if (!comm_) return;
  if (std::uncaught_exceptions() == 0) {
    try {
      {
        std::lock_guard lock(mutex_);
        timeout_ = std::min<std::chrono::milliseconds>(timeout_, farewell);
      }
      settle(comm_, api_.finalize(comm_), "the end of an NCCL communicator");
      api_.destroy(comm_);
    } catch (const Error&) {  // settle has aborted it
    }
    return;
  }
  api_.abort(comm_);
}

std::unique_ptr<NcclGroup> NcclGroup::split(int colour, int order) {
  ncclConfig_t config = nonblocking();
  issue("the split of an NCCL communicator",
        [&](ncclComm_t comm) { return api_.split(comm, colour, order, &part_, &config); });
  if (!part_) fail_and_throw(fmt::format("rank {}: NCCL split gave no communicator", world_rank_));
  std::chrono::milliseconds timeout;
  {
    std::lock_guard lock(mutex_);
    timeout = timeout_;
  }
  const ncclComm_t part = std::exchange(part_, nullptr);
  return std::unique_ptr<NcclGroup>(new NcclGroup(api_, part, world_rank_, timeout, on_watch_));
}

void NcclGroup::issue(const std::string& operation, const Call& call) {
  ncclComm_t comm;
  ncclResult_t result;
  {
    std::lock_guard lock(mutex_);  // the watcher must not abort it under the call
    if (!failure_.empty()) communication_error("{}", failure_);
    comm = comm_;
    result = call(comm);
  }
  settle(comm, result, operation);
}

void NcclGroup::issue_together(const std::string& operation, const std::vector<Call>& calls) {
  issue(operation, [&](ncclComm_t comm) {
    const auto taken = [](ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; };
    ncclResult_t result = api_.group_start();
    if (!taken(result)) return result;
    for (std::size_t i = 0; i < calls.size() && taken(result); ++i) result = calls[i](comm);
    // After a failure as well: the open group is this thread's, and would swallow what other communicators issue.
    const ncclResult_t ended = api_.group_end();
    return taken(result) ? ended : result;
  });
}

/// Tells pending() of an operation that is polled, as long as it lives.
class NcclGroup::Settling {
 public:
  Settling(NcclGroup& group, const std::string& operation) : group_(group) {
    const std::lock_guard lock(group_.mutex_);
    group_.settling_ = operation;
    group_.settling_since_ = Clock::now();
  }
  ~Settling() {
    const std::lock_guard lock(group_.mutex_);
    group_.settling_.clear();
  }

 private:
  NcclGroup& group_;
};

void NcclGroup::settle(ncclComm_t comm, ncclResult_t result, const std::string& operation) {
  if (result == ncclSuccess) return;
  const Settling settling(*this, operation);
  const auto start = Clock::now();
  while (result == ncclInProgress) {
    std::chrono::milliseconds timeout;
    {
      std::lock_guard lock(mutex_);
      if (!failure_.empty()) communication_error("{}", failure_);
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = api_.get_async_error(comm, &state);
      result = asked == ncclSuccess ? state : asked;
      timeout = timeout_;
    }
    if (result != ncclInProgress) break;
    const auto waited = Clock::now() - start;
    if (waited > timeout) fail_and_throw(late(operation));
    if (waited < keen) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(poll_pause);
    }
  }
  if (result != ncclSuccess) fail_and_throw(words(result, operation));
}

void NcclGroup::watch(const std::string& operation, std::function<bool()> finished) {
  {
    std::lock_guard lock(mutex_);
    if (watched_.empty()) front_since_ = Clock::now();
    watched_.push_back({operation, std::move(finished)});
    if (!watcher_.joinable()) {
      const WithoutSignals inherited;
      watcher_ = std::thread([this] { watch_loop(); });
    }
  }
  changed_.notify_all();
}

void NcclGroup::check() {
  std::lock_guard lock(mutex_);
  if (!failure_.empty()) communication_error("{}", failure_);
}

void NcclGroup::set_timeout(std::chrono::milliseconds timeout) {
  std::lock_guard lock(mutex_);
  timeout_ = timeout;
}

std::optional<Pending> NcclGroup::pending() {
  // A call of NCCL that hangs holds the lock.
  for (int i = 0; i < 20; ++i) {
    if (const std::unique_lock lock(mutex_, std::try_to_lock); lock) {
      const auto since = [](Clock::time_point start) {
        return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
      };
      if (!settling_.empty()) return Pending{settling_, {}, since(settling_since_)};
      if (!watched_.empty()) return Pending{watched_.front().operation, {}, since(front_since_)};
      return std::nullopt;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Pending{"a call of NCCL", {}, {}};
}

std::string NcclGroup::words(ncclResult_t result, const std::string& operation) const {
  return fmt::format("rank {} in {}: NCCL reports {}; a peer may be gone: NCCL_DEBUG=WARN tells more", world_rank_,
                     operation, nccl_words(api_, result));
}

std::string NcclGroup::late(const std::string& operation) const {
  return fmt::format("rank {} waited {:.4g} s in {}; a peer is hung or gone: look at its node, then run the command again",
                     world_rank_, std::chrono::duration<double>(timeout_).count(), operation);
}

std::string NcclGroup::thrown(const std::exception& error, const std::string& operation) const {
  const std::string text = error.what();
  return fmt::format("rank {} in {}: {}", world_rank_, operation, text.substr(0, text.find('\n')));
}

void NcclGroup::fail(const std::string& message) {
  ncclComm_t comm;
  {
    std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = message;
    comm = std::exchange(comm_, nullptr);
    watched_.clear();
  }
  if (comm) api_.abort(comm);  // without the lock: it may take its time
}

void NcclGroup::fail_and_throw(const std::string& message) {
  fail(message);
  throw Error(ExitCode::communication, message);
}

std::string NcclGroup::look() {
  while (!watched_.empty()) {
    bool finished = false;
    try {
      finished = watched_.front().finished();
    } catch (const std::exception& error) {
      return thrown(error, watched_.front().operation);
    }
    if (!finished) break;
    watched_.pop_front();
    front_since_ = Clock::now();
  }
  if (watched_.empty()) return "";
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = api_.get_async_error(comm_, &state);
  const ncclResult_t result = asked == ncclSuccess ? state : asked;
  if (result != ncclSuccess && result != ncclInProgress) return words(result, watched_.front().operation);
  if (Clock::now() - front_since_ > timeout_) return late(watched_.front().operation);
  return "";
}

void NcclGroup::watch_loop() {
  try {
    if (on_watch_) on_watch_();
  } catch (const std::exception& error) {
    return fail(thrown(error, "the watch over NCCL"));
  }
  for (;;) {
    std::string failure;
    {
      std::unique_lock lock(mutex_);
      if (watched_.empty()) {
        changed_.wait(lock, [this] { return stopping_ || !watched_.empty(); });
      } else {
        changed_.wait_for(lock, watch_pause, [this] { return stopping_; });
      }
      if (stopping_ || !comm_) return;
      failure = look();
    }
    if (!failure.empty()) return fail(failure);
  }
}

}  // namespace medfuse::cluster
