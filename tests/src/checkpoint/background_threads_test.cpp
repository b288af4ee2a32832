// The background writer and its ranks as threads, without LibTorch, so that the thread sanitizer can watch them: snapshots
// whose memory serves again, and errors on the way.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "src/checkpoint/background_writer.h"
#include "src/checkpoint/block_reader.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/manifest.h"
#include "tests/src/checkpoint/temporary_folder.h"
#include "tests/src/checkpoint/thread_ranks.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kRows = 300'000;  // of float, on each rank: a block of 1 MiB and more

float value(std::int64_t step, std::int64_t row) { return static_cast<float>(step * 1000 + row % 997); }

/// Rows [rank * kRows, (rank + 1) * kRows) of one tensor, in the memory of the snapshot before.
Snapshot fill(std::int64_t step, const Team& team, Snapshot used) {
  const std::int64_t total = kRows * team.size, begin = kRows * team.rank;
  const TensorInfo tensor{"weights", at::kFloat, {total}};
  std::shared_ptr<void> memory =
      used.pieces.empty() ? std::shared_ptr<void>(new float[kRows], [](void* p) { delete[] static_cast<float*>(p); })
                          : used.pieces[0].data;
  for (std::int64_t i = 0; i < kRows; ++i) static_cast<float*>(memory.get())[i] = value(step, begin + i);
  return {step, {{"step", step}}, {tensor}, {{tensor, {{begin}, {kRows}}, std::move(memory)}}};
}

void expect_complete(const fs::path& path, std::int64_t step, int size) {
  const Manifest manifest = read_manifest(path);
  ASSERT_EQ(manifest.step, step);
  const TensorEntry* const tensor = manifest.find("weights");
  ASSERT_TRUE(tensor);
  ASSERT_EQ(tensor->shards.size(), static_cast<std::size_t>(size));
  std::vector<float> values(kRows);
  for (const Shard& shard : tensor->shards) {
    BlockReader blocks(path / manifest.files[shard.file].name, tensor->info, shard);
    blocks.read(reinterpret_cast<char*>(values.data()), 0, kRows * 4);
    for (std::int64_t i = 0; i < kRows; ++i) ASSERT_EQ(values[i], value(step, shard.box.offset[0] + i));
  }
}

TEST(BackgroundThreads, SavesFollowEachOtherInTheSameMemory) {
  const TemporaryFolder folder;
  constexpr int size = 3, saves = 4;
  ThreadRanks::run_well(size, [&](const Team& team) {
    BackgroundWriter writer(folder.path(), team, {.keep = 0});
    for (std::int64_t step = 1; step <= saves; ++step) {
      writer.begin([&](Snapshot used) { return fill(step, team, std::move(used)); });
      if (step % 2 == 0) continue;  // the next begin() has to wait
      while (writer.active()) {
        bool all = true;
        for (const std::string& ready : team.all_gather(writer.ready() ? "1" : "")) all = all && !ready.empty();
        if (all) writer.advance();
        else std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    writer.finish();
  });
  for (std::int64_t step = 1; step <= saves; ++step) expect_complete(folder.path() / step_name(step), step, size);
}

TEST(BackgroundThreads, AnErrorBehindReachesAllAndTheNextSaveIsWhole) {
  const TemporaryFolder folder;
  constexpr int size = 3;
  ThreadRanks::run_well(size, [&](const Team& team) {
    BackgroundWriter writer(folder.path(), team);
    writer.begin([&](Snapshot used) {
      Snapshot snapshot = fill(1, team, std::move(used));
      if (team.rank == 1) snapshot.pieces[0].tensor.name = "other";  // of which the manifest does not know
      return snapshot;
    });
    EXPECT_ANY_THROW(writer.finish());
    EXPECT_FALSE(writer.active());
    writer.begin([&](Snapshot used) { return fill(2, team, std::move(used)); });
    writer.finish();
  });
  EXPECT_EQ(entries(folder.path()).size(), 1u);
  expect_complete(folder.path() / step_name(2), 2, size);
}

TEST(BackgroundThreads, TheThreadEndsBeforeItsSnapshotGoes) {
  const TemporaryFolder folder;
  ThreadRanks::run_well(2, [&](const Team& team) {
    BackgroundWriter writer(folder.path(), team);
    writer.begin([&](Snapshot used) { return fill(1, team, std::move(used)); });
  });
  EXPECT_TRUE(entries(folder.path()).empty());
}

}  // namespace
}  // namespace medfuse::checkpoint
