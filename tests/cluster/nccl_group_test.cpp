// The life of an NCCL communicator against a mock of NCCL: start, errors, time-outs, aborts. Needs no GPU.
#include "cluster/nccl_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/cluster/nccl_mock.h"

namespace medfuse::cluster {
namespace {

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

TEST_F(NcclGroupTest, ACallIsTakenWithoutANap) {
  const auto group = make();
  mock_.call = ncclInProgress;
  constexpr int polls = 50;
  auto best = std::chrono::steady_clock::duration::max();  // of several: the cores may have other work
  for (int i = 0; i < 20; ++i) {
    mock_.busy_polls = polls;
    const auto begin = std::chrono::steady_clock::now();
    group->issue("all_reduce", [&](ncclComm_t) { return call(); });
    best = std::min(best, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(best, polls * std::chrono::microseconds(200) / 4);
}

TEST_F(NcclGroupTest, ALongWaitSleeps) {
  mock_.busy_polls = -1;
  EXPECT_NE(failure(ExitCode::communication, [&] { make(milliseconds(300)); }), "");
  EXPECT_LT(mock_.polls, 50000) << "one that never sleeps polls a few hundred thousand times";
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

TEST_F(NcclGroupTest, AnErrorComesWithTheLastWarning) {
  const std::string plain = ncclGetErrorString(ncclRemoteError);
  const auto group = make();
  mock_.call = ncclRemoteError;
  mock_.last_error = "socketProgress: Connection closed by remote peer node7<41234>\nmore lines";
  const std::string message =
      failure(ExitCode::communication, [&] { group->issue("all_reduce", [&](ncclComm_t) { return call(); }); });
  EXPECT_EQ(message.find("rank 6 in all_reduce: NCCL reports " + plain + " (its last warning: socketProgress: "
                         "Connection closed by remote peer node7<41234>); a peer may be gone"), 0u) << message;
  EXPECT_EQ(failure(ExitCode::communication, [&] { check_nccl(api_, ncclRemoteError, "NCCL count"); })
                .find("NCCL count failed: " + plain + " (its last warning: socketProgress"), 0u);
  mock_.last_error = "";
  EXPECT_EQ(nccl_words(api_, ncclRemoteError), plain);
}

TEST_F(NcclGroupTest, ADeviceErrorIsReported) {
  const auto group = make();
  group->watch("barrier", []() -> bool { throw std::runtime_error("CUDA error: unspecified\nmore lines"); });
  EXPECT_EQ(failure_in_background(*group), "rank 6 in barrier: CUDA error: unspecified");
}

TEST_F(NcclGroupTest, TheWatchingThreadIsPreparedBeforeItLooks) {
  std::atomic<std::thread::id> prepared;
  std::atomic<int> polls_then{0};
  const auto group = make(milliseconds(2000), [&] {
    std::this_thread::sleep_for(milliseconds(20));  // a look that does not wait for this would come first
    polls_then = mock_.polls.load();
    prepared = std::this_thread::get_id();
  });
  const auto part = group->split(0, 0);
  for (NcclGroup* const watched : {group.get(), part.get()}) {
    prepared = std::thread::id();
    const int polls = mock_.polls;
    int looks = 0;
    watched->watch("all_reduce", [&] {
      EXPECT_EQ(prepared.load(), std::this_thread::get_id());
      return ++looks > 1;
    });
    for (int i = 0; i < 400 && watched->pending(); ++i) std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(looks, 2);
    EXPECT_EQ(polls_then, polls);
    EXPECT_GT(mock_.polls, polls);
    watched->check();
  }
}

TEST_F(NcclGroupTest, AWatchingThreadThatCannotBePreparedIsAFailure) {
  const auto group = make(milliseconds(2000), [] { throw std::runtime_error("CUDA error: no such GPU\nmore lines"); });
  group->watch("barrier", [] { return true; });
  EXPECT_EQ(failure_in_background(*group), "rank 6 in the watch over NCCL: CUDA error: no such GPU");
}

/// Two sends and a receive, as one group.
std::vector<NcclGroup::Call> messages(const NcclApi& api) {
  const auto send = [&api](ncclComm_t comm) { return api.send(nullptr, 8, ncclFloat32, 1, comm, nullptr); };
  const auto receive = [&api](ncclComm_t comm) { return api.receive(nullptr, 8, ncclFloat32, 1, comm, nullptr); };
  return {send, receive, send};
}

TEST_F(NcclGroupTest, MessagesGoAsOneGroupThatIsPolled) {
  const auto group = make();
  mock_.busy_polls = 4;
  const int polls = mock_.polls;
  group->issue_together("send, receive, send", messages(api_));
  EXPECT_EQ(mock_.groups, 1);
  EXPECT_EQ(mock_.sends, 2);
  EXPECT_EQ(mock_.receives, 1);
  EXPECT_EQ(mock_.polls - polls, 5);  // the end of the group said only that it was in progress
  EXPECT_EQ(mock_.open_groups, 0);
}

TEST_F(NcclGroupTest, AMessageInProgressWithinTheGroupIsFine) {
  const auto group = make();
  mock_.message = ncclInProgress;
  mock_.group_end = ncclSuccess;
  group->issue_together("send, receive, send", messages(api_));
  EXPECT_EQ(mock_.sends, 2);
  EXPECT_EQ(mock_.aborts, 0);
}

TEST_F(NcclGroupTest, ARefusedMessageClosesTheGroupAndAborts) {
  const auto group = make();
  mock_.message = ncclInvalidArgument;
  const std::string message =
      failure(ExitCode::communication, [&] { group->issue_together("send of 8 x f32 to member 1 of 4", messages(api_)); });
  EXPECT_NE(message.find("rank 6 in send of 8 x f32 to member 1 of 4: NCCL reports"), std::string::npos) << message;
  EXPECT_EQ(mock_.sends, 1);  // what follows is not tried
  EXPECT_EQ(mock_.receives, 0);
  EXPECT_EQ(mock_.groups, 1);
  EXPECT_EQ(mock_.open_groups, 0);
  EXPECT_EQ(mock_.aborts, 1);
  EXPECT_FALSE(failure(ExitCode::communication, [&] { group->issue_together("send", messages(api_)); }).empty());
}

TEST_F(NcclGroupTest, AGroupThatDoesNotStartIsNotEnded) {
  const auto group = make();
  mock_.group_start = ncclSystemError;
  EXPECT_FALSE(failure(ExitCode::communication, [&] { group->issue_together("send", messages(api_)); }).empty());
  EXPECT_EQ(mock_.sends, 0);
  EXPECT_EQ(mock_.groups, 0);
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, AFailedEndOfAGroupAborts) {
  const auto group = make();
  mock_.group_end = ncclRemoteError;
  EXPECT_NE(failure(ExitCode::communication, [&] { group->issue_together("all_to_all", messages(api_)); })
                .find("rank 6 in all_to_all: NCCL reports"),
            std::string::npos);
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, AnAsynchronousErrorOfMessagesAborts) {
  const auto group = make();
  mock_.async = ncclRemoteError;
  EXPECT_NE(failure(ExitCode::communication, [&] { group->issue_together("receive", messages(api_)); })
                .find("rank 6 in receive: NCCL reports"),
            std::string::npos);
  EXPECT_EQ(mock_.aborts, 1);
}

TEST_F(NcclGroupTest, MessagesGiveUpInTime) {
  const auto group = make(milliseconds(100));
  mock_.busy_polls = -1;
  const std::string message = failure(ExitCode::communication, [&] { group->issue_together("receive", messages(api_)); });
  EXPECT_NE(message.find("rank 6 waited 0.1 s in receive"), std::string::npos) << message;
  EXPECT_EQ(mock_.aborts, 1);
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

TEST_F(NcclGroupTest, ASplitThatFailedMayStillStoreItsPart) {
  const auto group = make();
  mock_.split_polls = -1;
  group->watch("all_reduce", [&]() -> bool {
    if (mock_.splits > 0) throw std::runtime_error("CUDA error: unspecified");
    return false;
  });
  EXPECT_EQ(failure(ExitCode::communication, [&] { group->split(1, 0); }),
            "rank 6 in all_reduce: CUDA error: unspecified");
  const auto place = reinterpret_cast<std::uintptr_t>(mock_.part.load());
  const auto begin = reinterpret_cast<std::uintptr_t>(group.get());
  ASSERT_TRUE(place >= begin && place + sizeof(ncclComm_t) <= begin + sizeof(NcclGroup)) << "it must live as long";
  *mock_.part = communicator(1);
}

TEST_F(NcclGroupTest, SaysWhatIsUnderWay) {
  const auto group = make();
  EXPECT_FALSE(group->pending());
  std::atomic<bool> finished = false;
  group->watch("all_reduce of 8 x f32", [&] { return finished.load(); });
  group->watch("all_gather of 8 x f32", [&] { return finished.load(); });
  ASSERT_TRUE(group->pending());
  EXPECT_EQ(group->pending()->operation, "all_reduce of 8 x f32");
  EXPECT_TRUE(group->pending()->waits_for.empty()) << "NCCL does not say";
  EXPECT_EQ(longest_pending()->operation, "all_reduce of 8 x f32");
  finished = true;
  for (int i = 0; i < 400 && group->pending(); ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_FALSE(group->pending());
}

TEST_F(NcclGroupTest, SaysWhatIsPolled) {
  std::thread start([&] { EXPECT_NE(failure(ExitCode::communication, [&] { make(milliseconds(500)); }), ""); });
  mock_.busy_polls = -1;
  std::string operation;
  for (int i = 0; i < 400 && operation.empty(); ++i) {
    if (const auto pending = longest_pending()) operation = pending->operation;
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(operation, "the start of NCCL among 4 ranks");
  start.join();
}

TEST_F(NcclGroupTest, ACallThatHangsDoesNotHoldUpTheQuestion) {
  const auto group = make();
  std::atomic<bool> inside = false, released = false;
  std::thread caller([&] {
    group->issue("all_reduce of 8 x f32", [&](ncclComm_t) {
      inside = true;
      while (!released) std::this_thread::sleep_for(milliseconds(1));
      return ncclSuccess;
    });
  });
  while (!inside) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = std::chrono::steady_clock::now();
  const auto pending = group->pending();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  ASSERT_TRUE(pending);
  EXPECT_EQ(pending->operation, "a call of NCCL");
  released = true;
  caller.join();
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

TEST(NcclApi, LaunchesAreOrderedUnlessTheUserSaysOtherwise) {
  constexpr auto name = "NCCL_LAUNCH_ORDER_IMPLICIT";
  ::unsetenv(name);
  launch_in_order();
  EXPECT_STREQ(std::getenv(name), "1");
  ::setenv(name, "0", 1);
  launch_in_order();
  EXPECT_STREQ(std::getenv(name), "0");
  ::unsetenv(name);
}

}  // namespace
}  // namespace medfuse::cluster
