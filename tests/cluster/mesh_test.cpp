// How ranks are laid out on a mesh, and the groups that come of it.
#include "cluster/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <functional>
#include <set>
#include <sstream>
#include <utility>

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
  EXPECT_EQ(refusal(two_nodes, {.tensor = 3}),
            "parallel.tensor: groups of 3 do not fit into a node of 4 ranks; degrees that work: 1, 2; with "
            "parallel.across_nodes = true (slow links within a group) also 3, 6");
  EXPECT_EQ(lay_out_mesh(two_nodes, {.tensor = 3, .across_nodes = true}).data, 2);
  EXPECT_EQ(refusal({"a", "a", "a", "b", "b", "b"}, {.tensor = 4}),
            "parallel.tensor: 4 does not divide the 6 ranks; degrees that work: 1, 3; with parallel.across_nodes = "
            "true (slow links within a group) also 2, 6");
  const auto nine_heads = [](std::int64_t degree) {
    return std::string(9 % degree == 0 ? "" : "does not split the heads");
  };
  EXPECT_EQ(refusal(std::vector<std::string>(6, "a"), {.tensor = 2, .model = nine_heads}),
            "parallel.tensor: 2 does not split the heads; degrees that work: 1, 3");
}

/// Degrees that a refusal names, and those that it names with parallel.across_nodes.
std::pair<std::set<int>, std::set<int>> named_degrees(const std::string& refused) {
  const auto behind = [&](const std::string& words) {
    std::set<int> degrees;
    const std::size_t found = refused.find(words);
    std::istringstream text(found == std::string::npos ? "" : refused.substr(found + words.size()));
    for (int degree = 0; text >> degree && degrees.insert(degree).second && text.get() == ',';) {
    }
    return degrees;
  };
  return {behind("degrees that work: "), behind("also ")};
}

/// Holds what refusals of any degree with these options name against what is accepted; returns how many there were.
int check_named_degrees(const std::vector<std::string>& hosts, MeshOptions options) {
  const int most = static_cast<int>(hosts.size()) + 1;
  const auto accepted = [&](int degree, bool across_nodes) {
    MeshOptions other = options;
    other.tensor = degree;
    other.across_nodes = across_nodes;
    return refusal(hosts, other).empty();
  };
  int refusals = 0;
  for (options.tensor = 0; options.tensor <= most; ++options.tensor) {
    const std::string refused = refusal(hosts, options);
    if (refused.find("degrees that work") == std::string::npos) continue;  // none, or one of the lab ranks
    ++refusals;
    const auto [working, wider] = named_degrees(refused);
    for (int degree = 0; degree <= most; ++degree) {
      EXPECT_EQ(working.contains(degree), accepted(degree, options.across_nodes)) << degree << ": " << refused;
      const bool either = working.contains(degree) || wider.contains(degree);
      EXPECT_EQ(either, accepted(degree, true)) << degree << ": " << refused;
    }
  }
  return refusals;
}

TEST(MeshLayout, NamesAllDegreesThatWorkAndNoOther) {
  const auto model = [](const std::function<bool(std::int64_t)>& divides) -> DegreeObstacle {
    return [divides](std::int64_t degree) { return std::string(divides(degree) ? "" : "does not suit the model"); };
  };
  const std::vector<DegreeObstacle> models = {nullptr, model([](std::int64_t degree) { return 9 % degree == 0; }),
                                              model([](std::int64_t degree) { return degree == 1 || degree == 4; })};
  int refusals = 0;
  for (const std::vector<int>& nodes : std::vector<std::vector<int>>{
           {1}, {2}, {6}, {8}, {3, 3}, {4, 2}, {1, 1, 1}, {4, 4, 4}, {6, 6, 3}, {5, 7}, {8, 8, 8, 8}}) {
    std::vector<std::string> hosts;
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      hosts.insert(hosts.end(), static_cast<std::size_t>(nodes[node]), std::to_string(node));
    }
    for (const DegreeObstacle& obstacle : models) {
      for (const std::optional<int> labs : {std::optional<int>(), std::optional(0), std::optional(2)}) {
        for (const bool across_nodes : {false, true}) {
          refusals += check_named_degrees(hosts, {.across_nodes = across_nodes, .lab_ranks = labs, .model = obstacle});
        }
      }
    }
  }
  EXPECT_GT(refusals, 500);
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

TEST(MeshLayout, GivesTheLastTensorGroupsToTheLabs) {
  const std::vector<std::string> hosts(8, "a");
  const MeshLayout layout = lay_out_mesh(hosts, {.tensor = 2, .lab_ranks = 4});
  EXPECT_EQ(layout.first_lab_row(), 2);
  for (int rank = 0; rank < 8; ++rank) {
    const MeshPlace& place = layout.places[static_cast<std::size_t>(rank)];
    EXPECT_EQ(place.data, rank / 2) << "the mesh is that without lab ranks";
    EXPECT_EQ(layout.for_labs(place), rank >= 4);
  }
  EXPECT_EQ(lay_out_mesh(hosts, {.tensor = 2}).lab_rows, 0);
  EXPECT_FALSE(lay_out_mesh(hosts, {.tensor = 2}).for_labs({3, 1}));
}

TEST(MeshLayout, ChoosesOneRankInEightForTheLabs) {
  const auto chosen = [](int ranks, int tensor) {
    const MeshLayout layout =
        lay_out_mesh(std::vector<std::string>(static_cast<std::size_t>(ranks), "a"), {.tensor = tensor, .lab_ranks = 0});
    return layout.lab_rows * layout.tensor;
  };
  EXPECT_EQ(chosen(2, 1), 1);
  EXPECT_EQ(chosen(8, 1), 1);
  EXPECT_EQ(chosen(11, 1), 1);
  EXPECT_EQ(chosen(64, 1), 8);
  EXPECT_EQ(chosen(8, 4), 4);
  EXPECT_EQ(chosen(512, 8), 64);
}

TEST(MeshLayout, SaysWhichNumbersOfLabRanksWork) {
  const std::vector<std::string> eight(8, "a"), two(2, "a"), one(1, "a");
  EXPECT_THAT(refusal(two, {.lab_ranks = 2}), HasSubstr("parallel.lab_ranks: 2 of 2 ranks leave no whole groups of 1 for the "
                                                        "text encoder; numbers that work: 1 to 1, or 0"));
  EXPECT_THAT(refusal(eight, {.lab_ranks = 9}), HasSubstr("numbers that work: 1 to 7"));
  EXPECT_THAT(refusal(eight, {.tensor = 2, .lab_ranks = 3}), HasSubstr("numbers that work: multiples of 2 from 2 to 6"));
  EXPECT_THAT(refusal(eight, {.tensor = 2, .lab_ranks = -2}), HasSubstr("parallel.lab_ranks: -2"));
  EXPECT_THAT(refusal(one, {.lab_ranks = 0}), HasSubstr("split needs at least 2 ranks"));
  EXPECT_THAT(refusal(eight, {.tensor = 8, .lab_ranks = 0}), HasSubstr("split needs at least 16 ranks"));
}

TEST(MeshLayout, RankMapTellsWhichRanksHaveTheLabs) {
  const std::vector<std::string> hosts = {"a", "a", "b", "b"};
  EXPECT_EQ(rank_map(lay_out_mesh(hosts, {.tensor = 2, .lab_ranks = 2}), hosts),
            "mesh: 4 ranks = 2 data x 2 tensor, 2 nodes; encoder stage: 1 data x 2 tensor for the text, 2 for the labs\n"
            "  a: rank 0 (data 0, tensor 0), rank 1 (data 0, tensor 1)\n"
            "  b: rank 2 (data 1, tensor 0, labs), rank 3 (data 1, tensor 1, labs)\n");
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
    EXPECT_EQ(&groups.task(), &groups.data());
  }
}

TEST(MeshGroups, DivideTheRanksOfEachTask) {
  const auto world = make_mpi_communicator(test_process());
  const std::vector<std::string> hosts(static_cast<std::size_t>(world->size()), "a");
  for (int tensor = 1; 2 * tensor <= world->size(); ++tensor) {
    if (world->size() % tensor != 0) continue;
    for (int labs = tensor; labs < world->size(); labs += tensor) {
      const MeshLayout layout = lay_out_mesh(hosts, {.tensor = tensor, .lab_ranks = labs});
      const MeshGroups groups(*world, layout);
      const MeshPlace place = layout.places[static_cast<std::size_t>(world->rank())];
      const bool for_labs = layout.for_labs(place);
      EXPECT_EQ(groups.task().size(), for_labs ? labs : (world->size() - labs) / tensor);
      EXPECT_EQ(groups.task().rank(), for_labs ? world->rank() - (world->size() - labs) : place.data);
      const at::Tensor sum = torch::tensor({for_labs ? 1.0 : 100.0 * (place.tensor + 1)});
      groups.task().all_reduce(sum, Reduction::sum)->wait();
      EXPECT_EQ(sum.item<double>(), for_labs ? labs : 100.0 * (place.tensor + 1) * layout.first_lab_row());
      EXPECT_EQ(groups.data().size(), layout.data) << "the whole mesh stays as it is";
    }
  }
}

}  // namespace
}  // namespace medfuse::cluster
