// When a job ends: what squeue prints, and asking it while answers change, fail and do not come.
#include "cluster/slurm_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <fstream>

#include "tests/base/scratch.h"

namespace medfuse::cluster {
namespace {

using std::chrono::system_clock;
using ::testing::HasSubstr;

WallTime at(std::time_t seconds) { return system_clock::from_time_t(seconds); }

/// Waits for what another thread does, at most 20 s.
bool comes(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

class InZone {
 public:
  explicit InZone(const char* zone) {
    ::setenv("TZ", zone, 1);
    ::tzset();
  }
  ~InZone() {
    ::unsetenv("TZ");
    ::tzset();
  }
};

TEST(EndTime, SecondsAndLocalTime) {
  EXPECT_EQ(read_end_time("1795796400\n").time, at(1795796400));
  const InZone zone("EST5EDT,M3.2.0,M11.1.0");
  EXPECT_EQ(read_end_time("2026-11-27T16:20:00\n").time, at(1795814400));
  EXPECT_EQ(read_end_time("  2026-06-30T00:00:00 \n").time, at(1782792000)) << "daylight saving time";
}

TEST(EndTime, NoLimit) {
  for (const char* text : {"N/A\n", "NONE\n", "Unknown\n", "UNLIMITED"}) {
    EXPECT_TRUE(read_end_time(text).understood) << text;
    EXPECT_FALSE(read_end_time(text).time) << text;
  }
}

TEST(EndTime, TheEarliestOfSeveral) {
  EXPECT_EQ(read_end_time("1795796400\nN/A\n1795790000\n").time, at(1795790000));
}

TEST(EndTime, NotUnderstood) {
  for (const char* text : {"", "\n", "soon", "2026-11-27", "2026-11-27T16:20:00Z", "12:00", "1795796400\nsoon"}) {
    EXPECT_FALSE(read_end_time(text).understood) << text;
  }
}

TEST(SlurmLimit, AsksAgainAndTellsWhatChanges) {
  std::atomic<int> questions{0};
  const auto now = system_clock::to_time_t(system_clock::now());
  const auto ask = [&](const WakeUp&) {
    const int question = questions++;
    ProgramOutput output;
    output.ok = question != 1;
    output.failure = "returned 1";
    output.text = std::to_string(now + (question < 3 ? 100 : 4000));
    return output;
  };
  SlurmLimit limit(ask, 0.02);
  ASSERT_TRUE(comes([&] { return limit.end() == at(now + 4000); }));
  ASSERT_TRUE(comes([&] { return questions > 5; }));
  const auto news = limit.news();
  ASSERT_EQ(news.size(), 3u) << ::testing::PrintToString(news);
  EXPECT_THAT(news[0], HasSubstr("Slurm ends this job at"));
  EXPECT_THAT(news[1], ::testing::AllOf(HasSubstr("warning: squeue returned 1"), HasSubstr("is kept")));
  EXPECT_THAT(news[2], HasSubstr("Slurm ends this job at"));
  EXPECT_TRUE(limit.news().empty());
}

TEST(SlurmLimit, ALimitThatIsTakenAwayIsGone) {
  std::atomic<int> questions{0};
  SlurmLimit limit([&](const WakeUp&) { return ProgramOutput{true, questions++ == 0 ? "1795796400" : "N/A", ""}; }, 0.02);
  ASSERT_TRUE(comes([&] { return questions > 2; }));
  EXPECT_FALSE(limit.end());
  EXPECT_THAT(limit.news(), ::testing::Contains("Slurm sets this job no time limit"));
}

TEST(SlurmLimit, NotKnowingIsToldOnce) {
  std::atomic<int> questions{0};
  SlurmLimit limit(
      [&](const WakeUp&) {
        ++questions;
        return ProgramOutput{false, "", "is not there"};
      },
      0.01);
  ASSERT_TRUE(comes([&] { return questions > 4; }));
  EXPECT_FALSE(limit.end());
  EXPECT_THAT(limit.news(), ::testing::ElementsAre(HasSubstr("warning: squeue is not there: this run does not know")));
}

/// Within a Slurm job, as far as the environment says, with a squeue of our own.
class SlurmJob : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::getenv("PATH");
    ::setenv("PATH", (scratch_.path().string() + ":" + path_).c_str(), 1);
    ::setenv("SLURM_JOB_ID", "77", 1);
  }
  void TearDown() override {
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("SLURM_JOB_ID");
    ::unsetenv("SLURM_JOB_END_TIME");
  }
  void squeue(const std::string& script) {
    std::ofstream(scratch_ / "squeue") << "#!/bin/sh\n" << script << "\n";
    ::chmod((scratch_ / "squeue").c_str(), 0755);
  }

  medfuse::testing::Scratch scratch_;
  std::string path_;
};

TEST_F(SlurmJob, SqueueIsAskedAboutThisJob) {
  squeue("[ \"$*\" = '-h -j 77 -o %e' ] && [ \"$SLURM_TIME_FORMAT\" = %s ] && echo 1795796400");
  const auto limit = SlurmLimit::of_this_job(300);
  EXPECT_TRUE(comes([&] { return limit->end() == at(1795796400); })) << ::testing::PrintToString(limit->news());
}

TEST_F(SlurmJob, TheEnvironmentServesUntilSqueueAnswers) {
  squeue("sleep 1; echo 1795799999");
  ::setenv("SLURM_JOB_END_TIME", "1795796400", 1);
  const auto limit = SlurmLimit::of_this_job(300);
  EXPECT_EQ(limit->end(), at(1795796400));
  EXPECT_TRUE(comes([&] { return limit->end() == at(1795799999); }));
}

TEST_F(SlurmJob, ASlowSqueueDelaysNeitherAnswersNorTheEnd) {
  squeue("exec sleep 1000");
  const auto begin = std::chrono::steady_clock::now();
  {
    const auto limit = SlurmLimit::of_this_job(300);
    EXPECT_FALSE(limit->end());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(SlurmJob, NothingIsAskedOutsideAJobOrWhenSwitchedOff) {
  EXPECT_EQ(SlurmLimit::of_this_job(0), nullptr);
  ::unsetenv("SLURM_JOB_ID");
  EXPECT_EQ(SlurmLimit::of_this_job(300), nullptr);
}

}  // namespace
}  // namespace medfuse::cluster
