// What `medfuse info` says about libraries, devices and ranks, and a short proof that the ranks reach each other.
#pragma once

#include <string>
#include <vector>

#include "cluster/communicator.h"
#include "cluster/process.h"

namespace medfuse::cluster {

/// Versions of MPI, NCCL (header and library) and LibTorch, and the devices of this node: one fact a line. Local.
std::vector<std::string> version_lines();

/// One line for each rank: rank, host, node-local rank, device. Collective; the same on every rank.
std::vector<std::string> rank_lines(Process& process, at::Device device);

/// Reduces, gathers and broadcasts known values over the communicator; one line that says what was done and how fast.
/// Collective. Throws Error(communication) if a value comes back wrong.
std::vector<std::string> self_test(Communicator& communicator);

}  // namespace medfuse::cluster
