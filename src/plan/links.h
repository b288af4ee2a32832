// What collectives move and how long they take: the ring formulas (Patarasuk & Yuan, J. Parallel Distrib. Comput. 69, 2009).
#pragma once

#include <cstdint>

#include "src/plan/machine.h"

namespace medfuse::plan {

enum class Collective { all_reduce, reduce_scatter, all_gather };

/// Bytes that each of `ranks` sends for a collective on a tensor of `bytes`, which is the whole one: the input of a
/// reduce-scatter, the output of an all-gather. 2 (n - 1) / n of it for an all-reduce, half of that for the others.
double sent_bytes(Collective collective, double bytes, std::int64_t ranks);

/// How one group of ranks is connected.
struct Link {
  std::int64_t ranks = 1;
  std::int64_t nodes = 1;      ///< that it reaches over
  double bandwidth = 0;        ///< of a rank, bytes/s in one direction
  double ring_latency = 0;     ///< of a reduce-scatter or an all-gather, seconds: a ring over all ranks
  double tree_latency = 0;     ///< of half an all-reduce, seconds: a ring in each node, a tree between nodes

  /// Seconds of a collective on a whole tensor of `bytes`.
  double seconds(Collective collective, double bytes) const;
};

/// Where the ranks of a mesh are: tensor groups are neighbours.
struct Placement {
  std::int64_t nodes = 1;
  std::int64_t per_node = 1;
  std::int64_t tensor = 1;
  std::int64_t ranks() const { return nodes * per_node; }
  std::int64_t data() const { return ranks() / tensor; }
};

/// The tensor group of a rank. Groups that reach over nodes have a node's network to themselves.
Link tensor_link(const Machine& machine, const Placement& placement);
/// So many neighbours of its data group, or the whole of it. All the data groups of a node share its network.
Link data_link(const Machine& machine, const Placement& placement, std::int64_t ranks);
Link data_link(const Machine& machine, const Placement& placement);
/// So many neighbours of the world, as the lab ranks of the split layout are.
Link neighbours_link(const Machine& machine, const Placement& placement, std::int64_t ranks);

}  // namespace medfuse::plan
