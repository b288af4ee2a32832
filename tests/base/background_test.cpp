// Work on a thread of its own: it takes no signals, and hands back its result or its error.
#include "base/background.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <stdexcept>

namespace medfuse {
namespace {

TEST(Background, HandsBackTheResult) {
  EXPECT_EQ(in_background([] { return std::string("done"); }).get(), "done");
}

TEST(Background, HandsBackTheError) {
  auto failed = in_background([]() -> std::string { throw std::runtime_error("disk full"); });
  EXPECT_THROW(failed.get(), std::runtime_error);
}

TEST(Background, TakesNoSignals) {
  const auto blocked = [] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
  };
  EXPECT_EQ(in_background([&] { return std::string(blocked() ? "blocked" : "open"); }).get(), "blocked");
  EXPECT_FALSE(blocked());
}

TEST(Background, GoesOnWhileTheCallerDoes) {
  std::promise<void> gate;
  auto waiting = in_background([&gate] {
    gate.get_future().wait();
    return std::string("through");
  });
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(0)), std::future_status::timeout);
  gate.set_value();
  EXPECT_EQ(waiting.get(), "through");
}

}  // namespace
}  // namespace medfuse
