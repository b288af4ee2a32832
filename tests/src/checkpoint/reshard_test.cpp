// A checkpoint written anew with another number of files is the same checkpoint.
#include "src/checkpoint/reshard.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <fstream>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"
#include "tests/src/checkpoint/thread_ranks.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;

TEST(Reshard, KeepsEveryTensorAndWhatElseIsInIt) {
  const TemporaryFolder folder, other;
  ThreadRanks::run_well(3, [&](const Team& team) {
    save(folder.path(), 12, local_state(12, team.rank, 3), {{"stage", "fusion"}, {"score", 0.5}}, team);
  });
  for (const std::int64_t files : {1, 2, 5}) {
    const fs::path place = other.path() / std::to_string(files);
    const SaveReport report = reshard(folder.path() / "step-000000012", place, files);
    EXPECT_EQ(report.path, place / "step-000000012");
    const Reader reader(report.path);
    EXPECT_EQ(reader.step(), 12);
    EXPECT_EQ(reader.extra(), (nlohmann::json{{"stage", "fusion"}, {"score", 0.5}}));
    EXPECT_EQ(reader.tensors().size(), whole_state(12).size());
    for (const auto& [name, tensor] : whole_state(12)) EXPECT_TRUE(same(reader.read(name), tensor)) << name;
    EXPECT_TRUE(verify(report.path).problems.empty());
    EXPECT_EQ(list(place).front().files, files);
  }
}

TEST(Reshard, RefusesAFolderInUseAndZeroFiles) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone()).path;
  EXPECT_THROW(reshard(path, folder.path(), 2), Error);
  EXPECT_THROW(reshard(path, folder.path() / "other", 0), Error);
  EXPECT_FALSE(fs::exists(folder.path() / "other"));
}

TEST(Reshard, DamageIsNotCarriedOver) {
  const TemporaryFolder folder, other;
  const fs::path path = save(folder.path(), 1, local_state(1, 0, 1), {}, Team::alone()).path;
  const fs::path damaged = path / "rank-00000.h5";
  std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(fs::file_size(damaged) / 2));  // within the largest tensors
  file << std::string(4096, 'x');
  file.close();
  EXPECT_THROW(reshard(path, other.path(), 2), DamagedError);
  EXPECT_TRUE(entries(other.path()).empty());
  EXPECT_FALSE(fs::exists(partial_path(other.path(), 1)));
}

}  // namespace
}  // namespace medfuse::checkpoint
