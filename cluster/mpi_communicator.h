// Communicator over MPI for host tensors. Sums are formed in rank order from unrounded values, so the bits repeat from
// run to run and are the same on every rank, whatever algorithm an MPI library would have chosen.
#pragma once

#include <cstdint>
#include <memory>

#include "cluster/communicator.h"
#include "cluster/process.h"

namespace medfuse::cluster {

struct MpiOptions {
  std::int64_t largest_message = std::int64_t{1} << 28;  ///< elements; MPI counts are int. Small in tests.
  std::int64_t direct_bytes = 32 << 10;  ///< reductions that gather no more than this are done in one exchange
};

/// A communicator over all ranks of the job. Collective. `process` must outlive it.
std::unique_ptr<Communicator> make_mpi_communicator(Process& process, const MpiOptions& options = {});

}  // namespace medfuse::cluster
