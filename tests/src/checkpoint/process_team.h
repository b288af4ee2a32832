// The ranks of a job as a checkpoint sees them. Errors reach all ranks alike: wrap the call in cluster::together() and
// one line is printed.
#pragma once

#include "cluster/process.h"
#include "src/checkpoint/team.h"

namespace medfuse::checkpoint {

/// `process` must outlive the team.
inline Team team_of(cluster::Process& process) {
  return {process.rank(), process.size(), [&process](const std::string& text) { return process.all_gather(text); }};
}

}  // namespace medfuse::checkpoint
