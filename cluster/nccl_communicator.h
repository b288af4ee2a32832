// Communicator over NCCL for device tensors, on a stream of its own beside the computation.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "cluster/communicator.h"
#include "cluster/nccl_api.h"
#include "cluster/process.h"

namespace medfuse::cluster {

/// A communicator over all ranks of the job, each with a GPU of its own. Collective: MPI carries the common id.
/// Work::wait() makes later work of the current stream wait, not the host; a hang or failure aborts the communicator in
/// the background and is thrown by the next call. To be sure that everything so far arrived (before a checkpoint), call
/// barrier(), which waits on the host. Throws Error(usage) if the loaded NCCL does not fit the headers.
std::unique_ptr<Communicator> make_nccl_communicator(Process& process, at::Device device, const NcclApi& api = nccl());

}  // namespace medfuse::cluster
