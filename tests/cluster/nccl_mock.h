// NCCL without a GPU: functions that answer as a test tells them to and count how often they were called.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "cluster/nccl_group.h"

namespace medfuse::cluster {

using std::chrono::milliseconds;

/// What the mock does, and what it was asked.
struct Mock {
  std::atomic<int> version{NCCL_VERSION_CODE};
  std::atomic<const char*> last_error{""};  ///< its last warning
  std::atomic<ncclResult_t> init{ncclInProgress};
  std::atomic<int> busy_polls{3};  ///< how often a poll still finds it busy; negative: for ever
  std::atomic<int> split_polls{2};  ///< the same for a split
  std::atomic<ncclComm_t*> part{nullptr};  ///< where the end of a split stores its communicator
  std::atomic<ncclResult_t> async{ncclSuccess};
  std::atomic<ncclResult_t> call{ncclSuccess};
  std::atomic<ncclResult_t> message{ncclSuccess};  ///< of a send or receive
  std::atomic<ncclResult_t> group_start{ncclSuccess}, group_end{ncclInProgress};
  std::atomic<int> inits{0}, polls{0}, aborts{0}, finalizes{0}, destroys{0}, splits{0};
  std::atomic<int> groups{0}, open_groups{0}, sends{0}, receives{0};
};
inline Mock* mock = nullptr;
inline int communicators[8];  // only their addresses matter

inline ncclComm_t communicator(int i) { return reinterpret_cast<ncclComm_t>(&communicators[i]); }

inline NcclApi mock_api() {
  NcclApi api;
  api.get_version = [](int* version) {
    *version = mock->version;
    return ncclSuccess;
  };
  api.get_last_error = [](ncclComm_t) { return mock->last_error.load(); };
  api.init = [](ncclComm_t* comm, int, ncclUniqueId, int, ncclConfig_t* config) {
    ++mock->inits;
    EXPECT_EQ(config->blocking, 0);
    *comm = communicator(0);
    return mock->init.load();
  };
  api.split = [](ncclComm_t, int, int, ncclComm_t* part, ncclConfig_t* config) {
    EXPECT_EQ(config->blocking, 0);
    *part = nullptr;
    mock->part = part;
    ++mock->splits;
    mock->busy_polls = mock->split_polls.load();
    return ncclInProgress;
  };
  api.count = [](const ncclComm_t, int* count) {
    *count = 2;
    return ncclSuccess;
  };
  api.user_rank = [](const ncclComm_t, int* rank) {
    *rank = 1;
    return ncclSuccess;
  };
  api.get_async_error = [](ncclComm_t, ncclResult_t* state) {
    ++mock->polls;
    if (mock->busy_polls < 0) {
      *state = ncclInProgress;
    } else if (mock->busy_polls > 0) {
      --mock->busy_polls;
      *state = ncclInProgress;
    } else {
      if (ncclComm_t* const part = mock->part.exchange(nullptr)) *part = communicator(mock->splits);
      *state = mock->async;
    }
    return ncclSuccess;
  };
  api.group_start = [] {
    if (mock->group_start == ncclSuccess) ++mock->open_groups;
    return mock->group_start.load();
  };
  api.group_end = [] {
    --mock->open_groups;
    ++mock->groups;
    return mock->group_end.load();
  };
  api.send = [](const void*, std::size_t, ncclDataType_t, int, ncclComm_t comm, cudaStream_t) {
    EXPECT_EQ(comm, communicator(0));
    EXPECT_EQ(mock->open_groups, 1);
    ++mock->sends;
    return mock->message.load();
  };
  api.receive = [](void*, std::size_t, ncclDataType_t, int, ncclComm_t comm, cudaStream_t) {
    EXPECT_EQ(comm, communicator(0));
    EXPECT_EQ(mock->open_groups, 1);
    ++mock->receives;
    return ncclSuccess;
  };
  api.finalize = [](ncclComm_t) {
    ++mock->finalizes;
    return ncclInProgress;
  };
  api.destroy = [](ncclComm_t) {
    ++mock->destroys;
    return ncclSuccess;
  };
  api.abort = [](ncclComm_t) {
    ++mock->aborts;
    return ncclSuccess;
  };
  return api;
}

class NcclGroupTest : public testing::Test {
 protected:
  NcclGroupTest() { mock = &mock_; }
  ~NcclGroupTest() override { mock = nullptr; }

  std::unique_ptr<NcclGroup> make(milliseconds timeout = milliseconds(2000), std::function<void()> on_watch = {}) {
    return std::make_unique<NcclGroup>(api_, ncclUniqueId{}, 4, 2, 6, timeout, std::move(on_watch));
  }
  ncclResult_t call() { return mock_.call; }

  Mock mock_;
  NcclApi api_ = mock_api();
};

/// Message of the Error with this code that f throws; empty if none comes.
template <class F>
std::string failure(ExitCode code, const F& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "";
}

/// Waits until the background watch has made check() fail; its message.
inline std::string failure_in_background(NcclGroup& group) {
  for (int i = 0; i < 400; ++i) {
    const std::string message = failure(ExitCode::communication, [&] { group.check(); });
    if (!message.empty()) return message;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return "";
}

}  // namespace medfuse::cluster
