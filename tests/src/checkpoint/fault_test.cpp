// One save, killed or failing at every single call that changes a file, one after the other: the checkpoint before it or the
// new one loads, whole, and the next save succeeds. MEDFUSE_EVERY_FAULT=1: also saves that are waited for, and other errors.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"
#include "src/checkpoint/writer.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;

struct End {
  int code = -1;    // of the process; -1: a signal
  int signal = 0;
  std::string line;  // what it said
};

/// Runs the probe with the fault.
End probe(const fs::path& folder, std::int64_t step, const std::string& way, const std::string& fault,
          const fs::path& log = "/dev/null") {
  int pipe[2];
  if (::pipe(pipe) != 0) throw std::runtime_error("pipe failed");
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], STDERR_FILENO);
    ::close(pipe[0]);
    ::setenv("LD_PRELOAD", MEDFUSE_FAULT_SHIM, 1);
    ::setenv("MEDFUSE_FAULT", fault.c_str(), 1);
    ::setenv("MEDFUSE_FAULT_PATH", folder.c_str(), 1);
    ::setenv("MEDFUSE_FAULT_LOG", log.c_str(), 1);
    ::execl(MEDFUSE_SAVE_PROBE, MEDFUSE_SAVE_PROBE, folder.c_str(), std::to_string(step).c_str(), way.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(pipe[1]);
  End end;
  char buffer[4096];
  for (ssize_t n; (n = ::read(pipe[0], buffer, sizeof buffer)) > 0;) end.line.append(buffer, static_cast<std::size_t>(n));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  else end.signal = WTERMSIG(status);
  return end;
}

/// "pwrite", "fsync", ... in order: what the probe does when nothing strikes.
std::vector<std::string> calls_of_one_save(const std::string& way) {
  const TemporaryFolder folder, other;
  save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone());
  EXPECT_EQ(probe(folder.path(), 2, way, "count:0", other.path() / "log").code, 0);
  std::ifstream log(other.path() / "log");
  std::vector<std::string> names;
  for (std::string number, name, path; log >> number >> name >> path;) names.push_back(name);
  return names;
}

/// The newest checkpoint, whose tensors must be those of its step. 0: there is none.
std::int64_t newest_step(const fs::path& folder) {
  const auto newest = Reader::newest(folder);
  if (!newest) return 0;
  const Reader reader(*newest);
  for (const auto& [name, tensor] : whole_state(reader.step())) EXPECT_TRUE(same(reader.read(name), tensor)) << name;
  return reader.step();
}

void expect_a_later_save_to_work(const fs::path& folder) {
  save(folder, 3, local_state(3, 0, 1), {}, Team::alone(), {.keep = 1});
  EXPECT_EQ(newest_step(folder), 3);
  std::vector<std::string> left;
  for (const auto& item : fs::directory_iterator(folder)) left.push_back(item.path().filename());
  EXPECT_EQ(left, std::vector<std::string>{step_name(3)}) << "leftovers";
}

/// Kinds or ways to try: the first, or with MEDFUSE_EVERY_FAULT=1 all (minutes).
std::vector<std::string> chosen(std::vector<std::string> all) {
  if (std::getenv("MEDFUSE_EVERY_FAULT") == nullptr) all.resize(1);
  return all;
}

TEST(Fault, KilledAtEveryCall) {
  for (const std::string& way : chosen({"background", "waited"})) {
    const auto calls = calls_of_one_save(way);
    ASSERT_GT(calls.size(), 30u);
    std::int64_t old_ones = 0, new_ones = 0;
    for (std::size_t n = 1; n <= calls.size(); ++n) {
      const std::string& name = calls[n - 1];
      for (const char* kind : {"kill", "torn"}) {
        if (kind == std::string("torn") && name.find("write") == std::string::npos) continue;
        const TemporaryFolder folder;
        save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone());
        const End end = probe(folder.path(), 2, way, std::string(kind) + ":" + std::to_string(n));
        ASSERT_EQ(end.signal, SIGKILL) << way << ", call " << n << ", " << name << ": " << end.line;
        const std::int64_t step = newest_step(folder.path());
        ASSERT_TRUE(step == 1 || step == 2) << way << ", " << kind << " at call " << n << ", " << name;
        ++(step == 1 ? old_ones : new_ones);
        expect_a_later_save_to_work(folder.path());
      }
    }
    EXPECT_GT(old_ones, 0);
    EXPECT_GT(new_ones, 0);
    std::printf("%s: %zu calls; the old one was the newest %lld times, the new one %lld times\n", way.c_str(), calls.size(),
                static_cast<long long>(old_ones), static_cast<long long>(new_ones));
  }
}

TEST(Fault, AnErrorAtEveryCall) {
  const auto calls = calls_of_one_save("background");
  for (const std::string& kind : chosen({"all-ENOSPC", "EIO", "all-EROFS"})) {
    for (std::size_t n = 1; n <= calls.size(); ++n) {
      const TemporaryFolder folder;
      save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone());
      const End end = probe(folder.path(), 2, "background", kind + ":" + std::to_string(n));
      const std::string what = kind + " at call " + std::to_string(n) + ", " + calls[n - 1] + ": " + end.line;
      // What fails behind the new name (deleting the old one) is a warning; all else ends with a line that names a file.
      ASSERT_TRUE(end.code == 3 || end.code == 0) << what;
      const std::int64_t step = newest_step(folder.path());
      if (end.code == 0) EXPECT_EQ(step, 2) << what;
      else EXPECT_TRUE(end.line.find(folder.path().string()) != std::string::npos && end.line.find('\n') + 1 == end.line.size())
          << what;
      ASSERT_TRUE(step == 1 || step == 2) << what;
      expect_a_later_save_to_work(folder.path());
    }
  }
}

}  // namespace
}  // namespace medfuse::checkpoint
