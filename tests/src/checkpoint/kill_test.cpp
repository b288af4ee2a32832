#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "base/random.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"
#include "src/checkpoint/writer.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"

namespace medfuse::checkpoint {
namespace {

/// The child's whole life: saves until it is killed, and tells through `pipe` which step is complete.
[[noreturn]] void save_for_ever(const std::filesystem::path& folder, std::int64_t from, int pipe) {
  for (std::int64_t step = from;; ++step) {
    // Every third step is saved twice, as after falling back to an older checkpoint.
    for (int i = 0; i < (step % 3 == 0 ? 2 : 1); ++i)
      save(folder, step, local_state(step, 0, 1), {}, Team::alone(), {1});
    if (::write(pipe, &step, sizeof step) != sizeof step) ::_exit(1);
  }
}

bool half_written(const std::filesystem::path& folder) {
  std::error_code changing;  // the child may move what is being listed
  for (std::filesystem::directory_iterator item(folder, changing), end; !changing && item != end; item.increment(changing)) {
    if (item->path().extension() == ".partial") return true;
  }
  return false;
}

TEST(Kill, AtAnyMomentTheNewestCheckpointLoads) {
  const TemporaryFolder folder;
  // Kill within the time of about four saves, whatever that is on this machine.
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone(), {1});
  const std::chrono::duration<double> patience = 4.0 / 3.0 * (std::chrono::steady_clock::now() - start);
  std::int64_t complete = 1, killed_while_writing = 0;
  for (std::uint64_t round = 0; round < 25; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      save_for_ever(folder.path(), complete + 1, pipe[1]);
    }
    ::close(pipe[1]);
    std::this_thread::sleep_for(uniform(key({round})) * patience);
    // At any moment, and then as often in the midst of a save, however little of the time that is.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (round % 2 == 1 && !half_written(folder.path()) && std::chrono::steady_clock::now() < end) {
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    for (std::int64_t step = 0; ::read(pipe[0], &step, sizeof step) == sizeof step;) complete = step;
    ::close(pipe[0]);

    killed_while_writing += half_written(folder.path()) ? 1 : 0;
    const auto newest = Reader::newest(folder.path());
    ASSERT_TRUE(newest) << "round " << round;
    const Reader reader(*newest);
    EXPECT_GE(reader.step(), complete);  // one more may be complete than was told
    EXPECT_LE(reader.step(), complete + 1);
    for (const auto& [name, tensor] : whole_state(reader.step())) EXPECT_TRUE(same(reader.read(name), tensor)) << name;
    for (const CheckpointInfo& info : list(folder.path())) EXPECT_EQ(info.problem, "") << "round " << round;
    complete = reader.step();
  }
  EXPECT_GT(complete, 5);
  EXPECT_GT(killed_while_writing, 5);
}

}  // namespace
}  // namespace medfuse::checkpoint
