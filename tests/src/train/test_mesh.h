// A world laid out as data x tensor, all on one node, for tests of training.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/mesh.h"
#include "src/train/ranks.h"

namespace medfuse::train {

struct Mesh {
  /// `lab_ranks`: split layout, with so many ranks for the labs (0: about one in eight); nothing: interleaved.
  Mesh(cluster::Communicator& world, int tensor, std::optional<int> lab_ranks = {})
      : layout(cluster::lay_out_mesh(std::vector<std::string>(static_cast<std::size_t>(world.size()), "here"),
                                     {.tensor = tensor, .lab_ranks = lab_ranks})),
        groups(world, layout) {}
  Ranks ranks() { return ranks(groups.data()); }
  /// With a stand-in for the data dimension's device tensors.
  Ranks ranks(cluster::Communicator& device) {
    Ranks all(groups.data(), device, groups.world(), groups.tensor(), groups.tensor());
    if (layout.lab_rows > 0) all.split.emplace(groups.task(), groups.task(), layout.first_lab_row());
    return all;
  }
  cluster::MeshLayout layout;
  cluster::MeshGroups groups;
};

}  // namespace medfuse::train
