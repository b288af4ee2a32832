// Jobs with a rank that does not get on: each ends in time with one line that names it, with exit code 4, and nothing of it is
// left. And those that only look like it go on.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/cluster/launched_job.h"

namespace medfuse::cluster {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

Ending job(int ranks, const std::string& way) { return run_job(ranks, JOB_WATCH_PROBE " " + way); }

/// One line, with these beginnings and parts; "HOST" stands for this node.
void expect_line(const Ending& ending, std::string begin, const std::vector<std::string>& parts) {
  EXPECT_EQ(ending.code, 4);
  EXPECT_EQ(ending.lines.find('\n') + 1, ending.lines.size()) << ending.lines;
  if (const auto place = begin.find("HOST"); place != std::string::npos) begin.replace(place, 4, host());
  EXPECT_TRUE(ending.lines.starts_with("medfuse: " + begin)) << ending.lines;
  for (const auto& part : parts) EXPECT_NE(ending.lines.find(part), std::string::npos) << part << ": " << ending.lines;
}

TEST(JobWatch, NamesTheStoppedRankAndNotTheOneThatWaitsForIt) {
  const auto start = Clock::now();
  // Rank 3 only knows of rank 1, and is the first whose time is over.
  expect_line(job(4, "chain"), "rank 2 on HOST does not answer: it is stopped, killed or cut off; ",
              {"ranks 0, 1 wait for rank 2 in barrier among 3 ranks", "rank 3 waits for rank 1 in barrier among 2 ranks",
               "a step has lasted", "(timeout.step)"});
  EXPECT_LT(Clock::now() - start, seconds(20));
}

TEST(JobWatch, NamesRankZeroWhichSpeaksOtherwise) {
  expect_line(job(3, "first-stopped"), "rank 0 on HOST does not answer", {"ranks 1, 2 wait for rank 0 in barrier"});
}

TEST(JobWatch, NamesARankThatIsStuckOutsideOfMpi) {
  expect_line(job(3, "stuck"), "rank 2 on HOST answers and waits for no other rank, in a step for ",
              {"ranks 0, 1 wait for rank 2 in barrier among 3 ranks", "or raise timeout.step"});
}

TEST(JobWatch, EndsARankAlone) {
  const auto start = Clock::now();
  for (const char* launcher : {"", "mpirun -np 1 "}) {
    expect_line(run_command("export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; " + std::string(launcher) +
                            JOB_WATCH_PROBE " stuck"),
                "a step has lasted ", {"allowed are 1 s (timeout.step)"});
  }
  EXPECT_LT(Clock::now() - start, seconds(15));
}

TEST(JobWatch, NamesRanksThatWaitForEachOther) {
  expect_line(job(2, "knot"), "ranks 0, 1 on HOST answer and wait for each other; ",
              {"rank 0 waits for rank 1 in receive of", "rank 1 waits for rank 0 in receive of"});
}

TEST(JobWatch, ARankThatIsBusyWithinItsTimeIsWaitedFor) {
  const Ending ending = job(3, "busy");
  EXPECT_EQ(ending.code, 0);
  EXPECT_EQ(ending.lines, "medfuse: all met\nmedfuse: all met\nmedfuse: all met\n");
}

TEST(JobWatch, AJobThatIsSuspendedGoesOn) {
  const auto start = Clock::now();
  EXPECT_EQ(job(3, "suspended").lines, "medfuse: all met\nmedfuse: all met\nmedfuse: all met\n");
  EXPECT_GT(Clock::now() - start, seconds(7));
}

TEST(JobWatch, ARankThatDoesNotAnswerIsNotWaitedForOnceTheJobIsToStop) {
  const auto start = Clock::now();
  const Ending ending = job(3, "told");
  EXPECT_EQ(ending.code, 4);
  EXPECT_TRUE(ending.lines.starts_with("medfuse: told to stop, but rank 2 on " + host() + " does not answer")) << ending.lines;
  EXPECT_NE(ending.lines.find("ranks 0, 1 wait for rank 2 in barrier"), std::string::npos) << ending.lines;
  EXPECT_TRUE(ending.lines.ends_with("\nmedfuse: no stop is possible without rank 2\n")) << ending.lines;
  EXPECT_LT(Clock::now() - start, seconds(20)) << "the limit of the step is a minute";
}

TEST(JobWatch, SeesToTheEndOfMpi) {
  expect_line(job(3, "end"), "rank 2 on HOST does not answer",
              {"ranks 0, 1 wait for rank 2 in the end of the job", "the end of the job has lasted"});
}

TEST(JobWatch, SeesToTheStartOfMpi) {
  const Ending ending = run_command("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe "
                                    "--bind-to none -np 2 " JOB_WATCH_PROBE " start : -np 1 sleep 100");
  expect_line(ending, "rank 0: the start of MPI has lasted ", {"allowed are 3 s"});
}

TEST(JobWatch, NothingIsLeftWhenTheLauncherDies) {
  const std::string file = testing::TempDir() + "job_watch_test." + std::to_string(getpid());
  // mpirun takes the place of the shell.
  FILE* job = popen(("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 exec mpirun --oversubscribe --bind-to none "
                     "-np 2 " JOB_WATCH_PROBE " wait >" + file + " 2>&1 & echo $!").c_str(), "r");
  int launcher = 0;
  ASSERT_EQ(std::fscanf(job, "%d", &launcher), 1);
  std::vector<int> ranks;
  for (int i = 0; i < 600 && ranks.size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ranks.clear();
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("medfuse: pid ")) ranks.push_back(std::stoi(line.substr(13)));
    }
  }
  ASSERT_EQ(ranks.size(), 2);
  ASSERT_EQ(kill(launcher, SIGKILL), 0);
  const auto runs = [](int process) {  // what nobody has asked for its exit code is still in the table, as a zombie
    std::ifstream status("/proc/" + std::to_string(process) + "/stat");
    std::string text;
    std::getline(status, text);
    return !text.empty() && text.find(") Z ") == std::string::npos;
  };
  for (const int rank : ranks) {
    for (int i = 0; i < 200 && runs(rank); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(runs(rank));
  }
  pclose(job);
  std::remove(file.c_str());
}

}  // namespace
}  // namespace medfuse::cluster
