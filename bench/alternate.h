// Times several ways to do one thing in turn, so that whatever else the machine does meets all of them alike.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cluster/process.h"

namespace medfuse::bench {

/// Seconds that one call of each way takes: a rank's median over `rounds`, of the slowest rank. Of two ways A and B the
/// order is A B, B A, A B, ...; a round calls each `repeats` times, and all ranks begin that together. Collective.
std::vector<double> alternate(cluster::Process& process, std::int64_t rounds, std::int64_t repeats,
                              const std::vector<std::function<void()>>& ways);

}  // namespace medfuse::bench
