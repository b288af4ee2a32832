// Programs that answer, fail, hang and are not there.
#include "base/program_output.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace medfuse {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ProgramOutput shell(const std::string& script, milliseconds limit = seconds(60)) {
  const WakeUp wake;
  return program_output({"sh", "-c", script}, {"MEDFUSE_TOLD=x y"}, limit, wake);
}

TEST(ProgramOutput, StandardOutputAlone) {
  ::setenv("MEDFUSE_TOLD", "old", 1);
  const auto output = shell("echo one; echo two >&2; echo \"$MEDFUSE_TOLD\"; cat");
  ::unsetenv("MEDFUSE_TOLD");
  EXPECT_TRUE(output.ok) << output.failure;
  EXPECT_EQ(output.text, "one\nx y\n");
}

TEST(ProgramOutput, LongOutput) { EXPECT_EQ(shell("head -c 300000 /dev/zero").text.size(), 300000u); }

TEST(ProgramOutput, FailuresInWords) {
  EXPECT_EQ(shell("echo half; exit 3").failure, "returned 3");
  EXPECT_EQ(shell("echo half; exit 3").text, "");
  EXPECT_EQ(shell("kill -9 $$").failure, "was killed by signal 9");
  const WakeUp wake;
  EXPECT_EQ(program_output({"medfuse-no-such-program"}, {}, seconds(60), wake).failure, "is not there");
}

TEST(ProgramOutput, TimeIsLimited) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(shell("exec sleep 1000", milliseconds(300)).failure, "gave no answer in 0.3 s");
  EXPECT_EQ(shell("exec sleep 1000 >&-", milliseconds(300)).failure, "gave no answer in 0.3 s") << "output closed early";
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(20));
}

TEST(ProgramOutput, WakingEndsTheWait) {
  WakeUp wake;
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(200));
    wake.wake();
  });
  const auto begin = std::chrono::steady_clock::now();
  const auto output = program_output({"sleep", "1000"}, {}, seconds(600), wake);
  other.join();
  EXPECT_EQ(output.failure, "was not waited for");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(20));
}

}  // namespace
}  // namespace medfuse
