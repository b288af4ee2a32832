// Saving and loading over real ranks, through the job's control plane.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "tests/src/checkpoint/process_team.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"
#include "src/checkpoint/writer.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"

namespace medfuse::checkpoint {
namespace {

TEST(CheckpointMpi, AllRanksSaveAndLoad) {
  cluster::Process process;
  const Team team = team_of(process);
  const TemporaryFolder own;  // rank 0's is used by all
  const std::filesystem::path folder = process.broadcast(own.path().string());
  for (const std::int64_t step : {10, 20, 30}) save(folder, step, local_state(step, team.rank, team.size), {}, team);
  const auto step = load_newest(
      folder, team,
      [&](const Reader& reader) {
        for (const ShardedTensor& tensor : local_state(30, team.rank, team.size)) {
          EXPECT_TRUE(same(reader.read(tensor.name, tensor.offset, tensor.local.sizes().vec()), tensor.local));
        }
      },
      [](const std::string& line) { ADD_FAILURE() << line; });
  EXPECT_EQ(step, 30);
  EXPECT_EQ(list(folder).size(), 2u);
  EXPECT_EQ(list(folder).back().files, team.size);
  EXPECT_TRUE(verify(*Reader::newest(folder)).problems.empty());
  process.barrier();
}

TEST(CheckpointMpi, AnErrorOnOneRankReachesAll) {
  cluster::Process process;
  const Team team = team_of(process);
  const TemporaryFolder own;
  const std::filesystem::path folder = process.broadcast(own.path().string());
  const bool faulty = team.rank == team.size - 1;
  const at::Tensor sparse = at::ones({3, 3}).to_sparse();
  EXPECT_THROW(save(folder, 1, {replicated("p", faulty ? sparse : at::ones({3, 3}))}, {}, team), std::logic_error);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  process.barrier();
}

}  // namespace
}  // namespace medfuse::checkpoint
