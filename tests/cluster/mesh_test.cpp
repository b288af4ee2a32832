// How ranks are laid out on a mesh, and the groups that come of it.
#include "cluster/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "base/error.h"
#include "cluster/mpi_communicator.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {
namespace {

using testing::HasSubstr;

std::string refusal(const std::vector<std::string>& hosts, const MeshOptions& options) {
  try {
    lay_out_mesh(hosts, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "";
}

TEST(MeshLayout, PutsTensorGroupsInsideNodes) {
  // Ranks dealt out to two nodes in turn, as some launchers do.
  const std::vector<std::string> hosts = {"a", "b", "a", "b", "a", "b", "a", "b"};
  const MeshLayout layout = lay_out_mesh(hosts, {.tensor = 2});
  EXPECT_EQ(layout.data, 4);
  for (int data = 0; data < 4; ++data) {
    std::vector<std::string> of_group;
    for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
      if (layout.places[rank].data == data) of_group.push_back(hosts[rank]);
    }
    ASSERT_EQ(of_group.size(), 2u);
    EXPECT_EQ(of_group[0], of_group[1]) << "data " << data;
  }
  EXPECT_EQ(layout.places[2].data, 0);
  EXPECT_EQ(layout.places[2].tensor, 1);
}

TEST(MeshLayout, WithoutTensorGroupsTheDataCoordinateIsTheRank) {
  const MeshLayout layout = lay_out_mesh({"a", "b", "a"}, {});
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(layout.places[static_cast<std::size_t>(rank)].data, rank);
}

TEST(MeshLayout, SaysWhichDegreesWork) {
  EXPECT_THAT(refusal(std::vector<std::string>(6, "a"), {.tensor = 4}),
              HasSubstr("4 does not divide the 6 ranks; degrees that work: 1, 2, 3, 6"));
  EXPECT_THAT(refusal(std::vector<std::string>(6, "a"), {.tensor = 0}), HasSubstr("parallel.tensor: 0"));
  const std::vector<std::string> two_nodes = {"a", "a", "a", "a", "b", "b"};
  EXPECT_THAT(refusal(two_nodes, {.tensor = 3}), HasSubstr("degrees that work: 1, 2 (or"));
  EXPECT_EQ(lay_out_mesh(two_nodes, {.tensor = 3, .across_nodes = true}).data, 2);
}

TEST(MeshLayout, RankMapNamesEveryRank) {
  const std::vector<std::string> hosts = {"a", "a", "b", "b"};
  EXPECT_EQ(rank_map(lay_out_mesh(hosts, {.tensor = 2}), hosts),
            "mesh: 4 ranks = 2 data x 2 tensor, 2 nodes\n"
            "  a: rank 0 (data 0, tensor 0), rank 1 (data 0, tensor 1)\n"
            "  b: rank 2 (data 1, tensor 0), rank 3 (data 1, tensor 1)\n");
  const std::vector<std::string> many(1000, "a");
  EXPECT_THAT(rank_map(lay_out_mesh(many, {}), many), HasSubstr("and 984 more"));
}

TEST(MeshGroups, SumOverTheirDimensionOnly) {
  const auto world = make_mpi_communicator(test_process());
  for (int tensor = 1; tensor <= world->size(); ++tensor) {
    if (world->size() % tensor != 0) continue;
    const MeshLayout layout = lay_out_mesh(std::vector<std::string>(static_cast<std::size_t>(world->size()), "a"),
                                           {.tensor = tensor});
    const MeshGroups groups(*world, layout);
    const MeshPlace place = layout.places[static_cast<std::size_t>(world->rank())];
    EXPECT_EQ(groups.data().rank(), place.data);
    EXPECT_EQ(groups.tensor().rank(), place.tensor);
    const at::Tensor data = torch::tensor({100.0 * place.tensor + 1}), same = torch::tensor({100.0 * place.data + 1});
    groups.data().all_reduce(data, Reduction::sum)->wait();
    groups.tensor().all_reduce(same, Reduction::sum)->wait();
    EXPECT_EQ(data.item<double>(), layout.data * (100.0 * place.tensor + 1));
    EXPECT_EQ(same.item<double>(), layout.tensor * (100.0 * place.data + 1));
  }
}

}  // namespace
}  // namespace medfuse::cluster
