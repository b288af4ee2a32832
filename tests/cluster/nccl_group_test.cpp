// The life of an NCCL communicator against a mock of NCCL: start, errors, time-outs, aborts. Needs no GPU.
#include "cluster/nccl_group.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"

namespace medfuse::cluster {
namespace {

using std::chrono::milliseconds;

/// What the mock does, and what it was asked.
struct Mock {
  std::atomic<int> version{NCCL_VERSION_CODE};
  std::atomic<ncclResult_t> init{ncclInProgress};
  std::atomic<int> busy_polls{3};  ///< how often a poll still finds it busy; negative: for ever
  std::atomic<ncclResult_t> async{ncclSuccess};
  std::atomic<ncclResult_t> call{ncclSuccess};
  std::atomic<int> inits{0}, polls{0}, aborts{0}, finalizes{0}, destroys{0}, splits{0};
};
Mock* mock = nullptr;
int communicators[8];  // only their addresses matter

ncclComm_t communicator(int i) { return reinterpret_cast<ncclComm_t>(&communicators[i]); }

NcclApi mock_api() {
  NcclApi api;
  api.get_version = [](int* version) {
    *version = mock->version;
    return ncclSuccess;
  };
  api.init = [](ncclComm_t* comm, int, ncclUniqueId, int, ncclConfig_t* config) {
    ++mock->inits;
    EXPECT_EQ(config->blocking, 0);
    *comm = communicator(0);
    return mock->init.load();
  };
  api.split = [](ncclComm_t, int, int, ncclComm_t* part, ncclConfig_t* config) {
    EXPECT_EQ(config->blocking, 0);
    *part = communicator(++mock->splits);
    mock->busy_polls = 2;
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
      *state = mock->async;
    }
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

  std::unique_ptr<NcclGroup> make(milliseconds timeout = milliseconds(2000)) {
    return std::make_unique<NcclGroup>(api_, ncclUniqueId{}, 4, 2, 6, timeout);
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
std::string failure_in_background(NcclGroup& group) {
  for (int i = 0; i < 400; ++i) {
    const std::string message = failure(ExitCode::communication, [&] { group.check(); });
    if (!message.empty()) return message;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return "";
}

TEST_F(NcclGroupTest, StartsWithoutBlockingAndLeavesInPeace) {
  {
    const auto group = make();
    EXPECT_EQ(group->rank(), 2);
    EXPECT_EQ(group->size(), 4);
    EXPECT_GE(mock_.polls, 4);
  }
  EXPECT_EQ(mock_.inits, 1);
  EXPECT_EQ(mock_.finalizes, 1);
  EXPECT_EQ(mock_.destroys, 1);
  EXPECT_EQ(mock_.aborts, 0);
}

TEST_F(NcclGroupTest, FailedStartIsAborted) {
  mock_.init = ncclSystemError;
  const std::string message = failure(ExitCode::communication, [&] { make(); });
  EXPECT_NE(message.find("rank 6 in the start of NCCL among 4 ranks: NCCL reports"), std::string::npos) << message;
  EXPECT_EQ(mock_.aborts, 1);
  EXPECT_EQ(mock_.destroys, 0);
}

TEST_F(NcclGroupTest, LateFailureOfTheStartIsAborted) {
  mock_.async = ncclRemoteError;
  EXPECT_NE(failure(ExitCode::communication, [&] { make(); }).find("NCCL reports"), std::string::npos);
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, StartGivesUpInTime) {
  mock_.busy_polls = -1;
  const auto begin = std::chrono::steady_clock::now();
  const std::string message = failure(ExitCode::communication, [&] { make(milliseconds(100)); });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_NE(message.find("rank 6 waited 0.1 s in the start of NCCL among 4 ranks"), std::string::npos) << message;
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, OlderLibraryIsRefusedBeforeTheStart) {
  mock_.version = 21803;
  const std::string message = failure(ExitCode::usage, [&] { make(); });
  EXPECT_NE(message.find("NCCL 2.18.3 is loaded but medfuse was built for"), std::string::npos) << message;
  EXPECT_EQ(mock_.inits, 0);
}

TEST_F(NcclGroupTest, CallsArePolledUntilTaken) {
  const auto group = make();
  mock_.call = ncclInProgress;
  mock_.busy_polls = 5;
  group->issue("all_reduce", [&](ncclComm_t comm) {
    EXPECT_EQ(comm, communicator(0));
    return call();
  });
  EXPECT_EQ(mock_.busy_polls, 0);
}

TEST_F(NcclGroupTest, AFailedCallAbortsAndIsRemembered) {
  const auto group = make();
  mock_.call = ncclInternalError;
  const std::string first = failure(ExitCode::communication, [&] {
    group->issue("all_gather of 8 x f32", [&](ncclComm_t) { return call(); });
  });
  EXPECT_NE(first.find("rank 6 in all_gather of 8 x f32: NCCL reports"), std::string::npos) << first;
  EXPECT_EQ(mock_.aborts, 1);
  mock_.call = ncclSuccess;
  bool called = false;
  EXPECT_EQ(failure(ExitCode::communication, [&] { group->issue("later", [&](ncclComm_t) { called = true; return call(); }); }),
            first);
  EXPECT_FALSE(called);
  EXPECT_EQ(failure(ExitCode::communication, [&] { group->check(); }), first);
}

TEST_F(NcclGroupTest, ACallThatIsNeverTakenTimesOut) {
  const auto group = make(milliseconds(100));
  mock_.call = ncclInProgress;
  mock_.busy_polls = -1;
  const std::string message = failure(ExitCode::communication, [&] {
    group->issue("broadcast", [&](ncclComm_t) { return call(); });
  });
  EXPECT_NE(message.find("waited 0.1 s in broadcast"), std::string::npos) << message;
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, FinishedOperationsRaiseNoAlarm) {
  const auto group = make(milliseconds(100));
  std::atomic<int> asked{0};
  for (int i = 0; i < 3; ++i) group->watch("all_reduce", [&] { return ++asked > 4; });
  std::this_thread::sleep_for(milliseconds(300));
  group->check();
  EXPECT_EQ(asked, 7);  // five looks for the first, one each for the others
  EXPECT_EQ(mock_.aborts, 0);
}

TEST_F(NcclGroupTest, AHangIsAbortedInTheBackground) {
  const auto group = make(milliseconds(100));
  group->watch("all_reduce (sum) of 4096 x f32", [] { return false; });
  const std::string message = failure_in_background(*group);
  EXPECT_NE(message.find("rank 6 waited 0.1 s in all_reduce (sum) of 4096 x f32; a peer is hung or gone"), std::string::npos)
      << message;
  for (int i = 0; i < 100 && mock_.aborts == 0; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, AnAsynchronousErrorIsAbortedInTheBackground) {
  const auto group = make();
  std::atomic<bool> done{false};
  group->watch("reduce_scatter", [&] { return done.load(); });
  group->check();
  mock_.async = ncclRemoteError;
  const std::string message = failure_in_background(*group);
  EXPECT_NE(message.find("rank 6 in reduce_scatter: NCCL reports"), std::string::npos) << message;
  for (int i = 0; i < 100 && mock_.aborts == 0; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, ADeviceErrorIsReported) {
  const auto group = make();
  group->watch("barrier", []() -> bool { throw std::runtime_error("CUDA error: unspecified\nmore lines"); });
  EXPECT_EQ(failure_in_background(*group), "rank 6 in barrier: CUDA error: unspecified");
}

TEST_F(NcclGroupTest, SplitsPollParentAndPart) {
  const auto group = make();
  const auto part = group->split(1, 0);
  EXPECT_EQ(part->size(), 2);
  EXPECT_EQ(part->rank(), 1);
  part->issue("all_reduce", [&](ncclComm_t comm) {
    EXPECT_EQ(comm, communicator(1));
    return call();
  });
}

TEST_F(NcclGroupTest, UnwindingAborts) {
  try {
    const auto group = make();
    throw 1;
  } catch (int) {
  }
  EXPECT_EQ(mock_.aborts, 1);
  EXPECT_EQ(mock_.finalizes, 0);
}

TEST_F(NcclGroupTest, ADeadPeerDoesNotHoldUpTheEnd) {
  const auto begin = std::chrono::steady_clock::now();
  {
    const auto group = make(milliseconds(100));
    mock_.busy_polls = -1;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(mock_.aborts, 1);
  EXPECT_EQ(mock_.destroys, 0);
}

TEST(NcclApi, TheLinkedLibraryFitsTheHeaders) {
  check_nccl_version(nccl());
  EXPECT_EQ(nccl_version_text(22809), "2.28.9");
  EXPECT_EQ(nccl_version_text(2708), "2.7.8");
}

}  // namespace
}  // namespace medfuse::cluster
