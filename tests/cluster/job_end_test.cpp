// How a whole job ends: exit code of mpirun and what is printed, for errors on one rank, on all, and hangs.
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <string>

#include "tests/cluster/launched_job.h"

namespace medfuse::cluster {
namespace {

Ending job(int ranks, const std::string& way, const std::string& launcher_options = "") {
  return run_job(ranks, JOB_END_PROBE " " + way, launcher_options);
}

TEST(JobEnd, GoodEndings) {
  EXPECT_EQ(job(2, "well").code, 0);
  EXPECT_EQ(job(2, "stopped").code, 85);
}

TEST(JobEnd, AnAgreedErrorIsPrintedOnce) {
  for (const int ranks : {1, 2, 3}) {
    const Ending ending = job(ranks, "agreed");
    EXPECT_EQ(ending.code, 3);
    EXPECT_EQ(ending.lines, "medfuse: row 7 is bad\n");
  }
}

TEST(JobEnd, APathThatTheSystemRefusesIsTheUsersMatter) {
  for (const char* way : {"agreed-path", "alone-path"}) {
    const Ending ending = job(2, way);
    EXPECT_EQ(ending.code, 3) << way;
    EXPECT_EQ(ending.lines, "medfuse: /proc/nowhere/made: No such file or directory; check the path and who may read it\n")
        << way;
  }
}

TEST(JobEnd, OneRanksErrorEndsAll) {
  const Ending ending = job(3, "alone");
  EXPECT_EQ(ending.code, 5);
  EXPECT_EQ(ending.lines, "medfuse: the loss is not finite\n");
}

TEST(JobEnd, TheSameErrorEverywhereIsPrintedOnce) {
  for (const int ranks : {1, 3}) {
    const Ending ending = job(ranks, "alike");
    EXPECT_EQ(ending.code, 2);
    EXPECT_EQ(ending.lines, "medfuse: unknown option\n");
  }
}

TEST(JobEnd, AHungRankIsNamed) {
  const auto start = std::chrono::steady_clock::now();
  const Ending ending = job(2, "hang");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(ending.code, 4);
  EXPECT_EQ(ending.lines, "medfuse: rank 1 on " + host() + " answers and waits for no other rank; rank 0 waited 0.5 s in "
                          "barrier for rank 1; a peer is hung or gone: look at its node, then run the command again\n");
}

/// First a line for each of tests/cluster/operations.h, which says that rank 0 missed the last of three ranks. With the
/// last one the job ends, so all ranks were asked, and it says first which of them is to blame.
void expect_the_last_to_be_missed_in_every_operation(const std::string& lines) {
  std::istringstream stream(lines);
  for (const std::string operation : {"all_reduce (sum) of", "all_reduce (max) of", "broadcast of", "all_gather of",
                                      "reduce_scatter (sum) of", "all_to_all of", "barrier among", "send of", "send of",
                                      "receive of"}) {
    std::string line;
    std::getline(stream, line);
    const std::string blame = stream.peek() == EOF
        ? "rank 2 on " + host() + " does not answer: it is stopped, killed or cut off; " : "";
    EXPECT_TRUE(line.starts_with("medfuse: " + blame + "rank 0 waited 0.3 s in " + operation)) << operation << ": " << line;
    EXPECT_NE(line.find(" for rank 2; a peer is hung or gone"), std::string::npos) << operation << ": " << line;
  }
}

TEST(JobEnd, AStoppedRankIsNamedInEveryOperation) {
  const auto start = std::chrono::steady_clock::now();
  const Ending ending = job(3, "last-stopped");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_EQ(ending.code, 4);
  expect_the_last_to_be_missed_in_every_operation(ending.lines);
}

TEST(JobEnd, AKilledRankIsNamedInEveryOperation) {
  // mpirun would end the others at once, with 128 + 9. A launcher that does not is what we must not rely on.
  EXPECT_EQ(job(3, "last-killed").code, 137);
  expect_the_last_to_be_missed_in_every_operation(job(3, "last-killed", "--enable-recovery").lines);
}

TEST(JobEnd, StartsWithoutMpirun) {
  // The sanitizer's options are the build's, not the environment of a start.
  const std::string bare = "env -i PATH=\"$PATH\" HOME=\"$HOME\" ASAN_OPTIONS=\"$ASAN_OPTIONS\" " JOB_END_PROBE " ";
  EXPECT_EQ(run_command(bare + "well").code, 0);
  const Ending ending = run_command(bare + "alike");
  EXPECT_EQ(ending.code, 2);
  EXPECT_EQ(ending.lines, "medfuse: unknown option\n");
}

}  // namespace
}  // namespace medfuse::cluster
