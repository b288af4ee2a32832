// The ranks of a run, as training code sees them: one group for host tensors, one for the tensors of the device (the
// same on a CPU). Nothing here knows about MPI or NCCL.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/communicator.h"
#include "src/checkpoint/team.h"

namespace medfuse::train {

struct Ranks {
  cluster::Communicator& host;
  cluster::Communicator& device;
  int rank() const { return host.rank(); }
  int size() const { return host.size(); }
};

/// Elementwise over the ranks, in float64. Collective.
std::vector<double> sum_over_ranks(cluster::Communicator& host, const std::vector<double>& values);

/// What checkpoints need, made of collectives on bytes. `host` must outlive it.
checkpoint::Team team_of(cluster::Communicator& host);

}  // namespace medfuse::train
