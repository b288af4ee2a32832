// The mesh of ranks: world = data x tensor. Ranks of one tensor group hold one model together and see the same samples;
// ranks of one data group hold the same part of it and see different samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cluster/communicator.h"

namespace medfuse::cluster {

struct MeshOptions {
  int tensor = 1;             ///< tensor-parallel degree
  bool across_nodes = false;  ///< whether a tensor group may reach over several nodes
};

/// A rank's coordinates.
struct MeshPlace {
  int data = 0;
  int tensor = 0;
};

struct MeshLayout {
  int data = 1;
  int tensor = 1;
  std::vector<MeshPlace> places;  ///< by rank of the world
};

/// Tensor groups are neighbours on a node: nodes in the order of their lowest rank, ranks of a node in order. With
/// tensor 1 the data coordinate is the rank. A function of its arguments only; `hosts` names each rank's node.
/// Throws Error(usage), saying which degrees would work, for a degree that does not divide the world, or one whose groups
/// would leave a node although across_nodes is false.
MeshLayout lay_out_mesh(const std::vector<std::string>& hosts, const MeshOptions& options);

/// One line a node: "node1: rank 0 (data 0, tensor 0), ...". At most 16 nodes and 16 ranks of each are written out.
std::string rank_map(const MeshLayout& layout, const std::vector<std::string>& hosts);

/// The groups of this rank over one kind of tensors. The world must outlive it.
class MeshGroups {
 public:
  /// Collective over `world`, whose rank is that of the layout.
  MeshGroups(Communicator& world, const MeshLayout& layout);
  Communicator& world() const { return world_; }
  Communicator& data() const { return *data_; }      ///< same part of the model, other samples
  Communicator& tensor() const { return *tensor_; }  ///< same samples, other parts

 private:
  Communicator& world_;
  std::unique_ptr<Communicator> own_data_, own_tensor_;  // null where the world, or this rank alone, serves
  Communicator* data_;
  Communicator* tensor_;
};

}  // namespace medfuse::cluster
