// Saving while training goes on: what is saved is the state of the moment, errors reach all ranks at one place, and
// nothing half-done is ever taken for a checkpoint.
#include "src/checkpoint/background_writer.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <chrono>
#include <thread>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/reader.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"
#include "tests/src/checkpoint/thread_ranks.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;

/// As a training loop does: looks between its steps, and goes on when all ranks are ready.
std::optional<SaveReport> step_until_complete(BackgroundWriter& writer, const Team& team) {
  for (;;) {
    bool all = true;
    for (const std::string& ready : team.all_gather(writer.ready() ? "1" : "")) all = all && !ready.empty();
    if (all) {
      if (auto report = writer.advance()) return report;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(BackgroundWriter, SavesTheStateOfTheMoment) {
  for (const int size : {1, 2, 3, 4}) {
    const TemporaryFolder folder;
    ThreadRanks::run_well(size, [&](const Team& team) {
      BackgroundWriter writer(folder.path(), team);
      auto state = local_state(7, team.rank, size);
      writer.begin(7, state, {{"note", "kept"}});
      for (ShardedTensor& tensor : state) tensor.local.zero_();  // training goes on
      EXPECT_TRUE(writer.active());
      const auto report = step_until_complete(writer, team);
      ASSERT_TRUE(report);
      EXPECT_FALSE(writer.active());
      EXPECT_EQ(report->path, folder.path() / "step-000000007");
      EXPECT_GT(report->bytes, 2 << 20);
    });
    const Reader reader(*Reader::newest(folder.path()));
    EXPECT_EQ(reader.extra().at("note"), "kept");
    for (const auto& [name, tensor] : whole_state(7)) EXPECT_TRUE(same(reader.read(name), tensor)) << name;
  }
}

TEST(BackgroundWriter, OneAtATime) {
  const TemporaryFolder folder;
  ThreadRanks::run_well(2, [&](const Team& team) {
    BackgroundWriter writer(folder.path(), team, {.keep = 0});
    for (const std::int64_t step : {1, 2, 3}) {
      writer.begin(step, local_state(step, team.rank, 2), {});
      if (step == 1) continue;
      EXPECT_EQ(Reader(*Reader::newest(folder.path())).step(), step - 1) << "begin() finishes the one before";
    }
    EXPECT_EQ(writer.finish()->path, folder.path() / "step-000000003");
    EXPECT_FALSE(writer.finish());  // nothing is on its way
  });
  EXPECT_EQ(entries(folder.path()).size(), 3u);
}

TEST(BackgroundWriter, AnErrorOnOneRankIsThrownByAllAndLeavesNoTrace) {
  for (const int culprit : {0, 1, 2}) {
    const TemporaryFolder folder, elsewhere;
    ThreadRanks::run_well(3, [&](const Team& team) { save(folder.path(), 1, local_state(1, team.rank, 3), {}, team); });
    const auto errors = ThreadRanks::run(3, [&](const Team& team) {
      // The culprit's file cannot be made: nobody has made the hidden folder there.
      const fs::path place = team.rank == culprit ? elsewhere.path() / "missing" : folder.path();
      BackgroundWriter writer(place, team);
      writer.begin(2, local_state(2, team.rank, 3), {});
      if (culprit == 0) fs::remove_all(elsewhere.path() / "missing");
      try {
        step_until_complete(writer, team);
      } catch (...) {
        EXPECT_FALSE(writer.active());
        EXPECT_FALSE(writer.finish());  // thrown once
        throw;
      }
    });
    for (const std::exception_ptr& error : errors) EXPECT_TRUE(error) << "rank 0 alone would go on";
    EXPECT_EQ(Reader(*Reader::newest(folder.path())).step(), 1);
    EXPECT_FALSE(fs::exists(partial_path(folder.path(), 2)));
  }
}

TEST(BackgroundWriter, OneThatIsGivenUpIsNoCheckpoint) {
  const TemporaryFolder folder;
  {
    BackgroundWriter writer(folder.path(), Team::alone());
    writer.begin(3, local_state(3, 0, 1), {});
  }
  EXPECT_FALSE(Reader::newest(folder.path()));
  save(folder.path(), 4, local_state(4, 0, 1), {}, Team::alone());
  EXPECT_FALSE(fs::exists(partial_path(folder.path(), 3))) << "the next one clears it away";
}

}  // namespace
}  // namespace medfuse::checkpoint
