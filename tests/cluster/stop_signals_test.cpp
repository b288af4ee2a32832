// Real signals to this process and to children of it.
#include "cluster/stop_signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "base/error.h"

namespace medfuse::cluster {
namespace {

TEST(StopSignals, NamesAreReadWithAndWithoutSig) {
  EXPECT_EQ(signal_numbers({"TERM", "SIGUSR1", "USR2"}), (std::vector<int>{SIGTERM, SIGUSR1, SIGUSR2}));
  EXPECT_EQ(signal_numbers({"USR1", "SIGUSR1"}), std::vector<int>{SIGUSR1});
  EXPECT_EQ(signal_numbers({"none"}), std::vector<int>{});
  EXPECT_EQ(signal_name(SIGUSR2), "SIGUSR2");
  EXPECT_EQ(signal_name(99), "signal 99");
}

TEST(StopSignals, AnUnknownNameIsTheUsersError) {
  for (const char* name : {"KILL", "usr1", "", "SIGSIGTERM", "12", "none"}) {
    try {
      signal_numbers({"TERM", name});
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("stop.signals"), testing::HasSubstr("USR2")));
    }
  }
}

TEST(StopSignals, TheFirstIsKept) {
  const StopSignals signals({SIGUSR1, SIGUSR2, SIGTERM});
  EXPECT_EQ(signals.received(), 0);
  ::raise(SIGUSR2);
  ::raise(SIGUSR1);
  ::raise(SIGTERM);
  EXPECT_EQ(signals.received(), SIGUSR2);
}

TEST(StopSignals, ANewOneKnowsNothingOfTheOld) {
  {
    const StopSignals signals({SIGUSR1});
    ::raise(SIGUSR1);
    EXPECT_THROW(StopSignals({SIGUSR1}), std::logic_error);
  }
  struct sigaction now {};
  ::sigaction(SIGUSR1, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
  const StopSignals signals({SIGUSR1});
  EXPECT_EQ(signals.received(), 0);
}

TEST(StopSignals, ReadsUnderWayGoOn) {
  const StopSignals signals({SIGUSR1});
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pthread_t reader = ::pthread_self();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ::pthread_kill(reader, SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(::write(ends[1], "x", 1), 1);
  });
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 1) << "interrupted";
  EXPECT_EQ(signals.received(), SIGUSR1);
  other.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

/// How a child ends that gets SIGTERM so many times, so many milliseconds apart.
int ending_of_child(int signals, int milliseconds) {
  const pid_t child = ::fork();
  if (child == 0) {
    const StopSignals handlers({SIGTERM});
    for (int i = 0; i < signals; ++i) {
      ::raise(SIGTERM);
      ::usleep(static_cast<useconds_t>(milliseconds) * 1000);
    }
    ::_exit(handlers.received() == SIGTERM ? 85 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(StopSignals, TwoRequestsToTerminateAreRequestsAndTheThirdEndsTheProcess) {
  EXPECT_EQ(ending_of_child(2, 600), 85);
  EXPECT_EQ(ending_of_child(3, 600), 128 + SIGTERM);
  EXPECT_EQ(ending_of_child(10, 1), 85) << "signals at the same time are one request";
}

}  // namespace
}  // namespace medfuse::cluster
