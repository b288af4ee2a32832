// The mesh of ranks: world = data x tensor. Ranks of one tensor group hold one model together and see the same samples;
// ranks of one data group hold the same part of it and see different samples. In the split layout of the encoder stage the
// last tensor groups leave the text to the others, and their ranks divide the labs' samples.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/communicator.h"
#include "cluster/tensor_degree.h"

namespace medfuse::cluster {

struct MeshOptions {
  int tensor = 1;             ///< tensor-parallel degree
  bool across_nodes = false;  ///< whether a tensor group may reach over several nodes
  std::optional<int> lab_ranks = {};  ///< split layout: ranks for the labs, 0: chosen here; nothing: ranks do both
  DegreeObstacle model = {};  ///< a degree that it objects to is refused, too
};

/// A rank's coordinates.
struct MeshPlace {
  int data = 0;
  int tensor = 0;
};

/// Split layout: how many of the `data` coordinates are for the labs where `lab_ranks` ranks are (0: chosen here, about one in
/// eight). They are whole tensor groups. Throws Error(usage), saying what would work, where none are left for the text.
std::int64_t lab_rows(std::int64_t data, std::int64_t tensor, std::int64_t lab_ranks);

struct MeshLayout {
  int data = 1;
  int tensor = 1;
  std::vector<MeshPlace> places;  ///< by rank of the world
  int lab_rows = 0;               ///< split layout: so many of the last data coordinates are for the labs

  int first_lab_row() const { return data - lab_rows; }
  bool for_labs(const MeshPlace& place) const { return place.data >= first_lab_row(); }
};

/// Tensor groups are neighbours on a node: nodes in the order of their lowest rank, ranks of a node in order. With
/// tensor 1 the data coordinate is the rank. Ranks for the labs are whole tensor groups, the last ones, so that those of
/// the text and of the whole mesh are the same. A function of its arguments only; `hosts` names each rank's node. Throws
/// Error(usage), saying what would work, for a degree that does not divide the world, one whose groups would leave a node
/// although across_nodes is false, and as lab_rows() does.
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
  /// Split layout: those of data() that do the text, or all that do the labs. Otherwise data().
  Communicator& task() const { return *task_; }

 private:
  Communicator& world_;
  std::unique_ptr<Communicator> own_data_, own_tensor_, own_task_;  // null where another serves
  Communicator* data_;
  Communicator* tensor_;
  Communicator* task_;
};

}  // namespace medfuse::cluster
