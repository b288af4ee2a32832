// Communicator over MPI for host tensors. Sums are formed in rank order from unrounded values, so the bits repeat from
// run to run and are the same on every rank, whatever algorithm an MPI library would have chosen. A group whose ranks are
// all on one node does long sums and gatherings in memory that they share.
#pragma once

#include <cstdint>
#include <memory>

#include "cluster/communicator.h"
#include "cluster/process.h"

namespace medfuse::cluster {

struct MpiOptions {
  std::int64_t largest_message = std::int64_t{1} << 28;  ///< elements; MPI counts are int. Small in tests.
  std::int64_t direct_bytes = 32 << 10;  ///< what gathers no more than this is done in one exchange of messages
  /// Of the memory that ranks of one node share, a rank has four slots of this size; 0: they send messages.
  std::int64_t slot_bytes = 256 << 10;
  /// Whether gatherings there skip the slots and read the others' tensors, if Linux allows it.
  bool read_directly = true;
};

/// A communicator over all ranks of the job. Collective. `process` must outlive it.
std::unique_ptr<Communicator> make_mpi_communicator(Process& process, const MpiOptions& options = {});

}  // namespace medfuse::cluster
