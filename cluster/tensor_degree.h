// Which tensor-parallel degrees the ranks, their nodes and the model allow: one list for every refusal.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace medfuse::cluster {

/// Why a model cannot be divided among so many ranks, in words to follow the number; empty: it can.
using DegreeObstacle = std::function<std::string(std::int64_t degree)>;

struct DegreeLimits {
  std::vector<std::int64_t> nodes;  ///< ranks of each
  bool across_nodes = false;        ///< whether a tensor group may reach over several
  std::optional<std::int64_t> lab_ranks = {};  ///< split layout: ranks for the labs, 0: chosen; nothing: all do both
  DegreeObstacle model = {};        ///< null: a model that can be divided anyhow
};

/// In rising order; none where the split layout has no room for both encoders.
std::vector<std::int64_t> tensor_degrees(const DegreeLimits& limits);

/// Throws Error(usage) naming parallel.tensor, what is in the way and tensor_degrees(), for a degree that does not
/// divide the ranks, fit into the nodes or suit the model. Whether it leaves groups for the labs is lab_rows()'s to say.
void check_tensor_degree(std::int64_t degree, const DegreeLimits& limits);

}  // namespace medfuse::cluster
