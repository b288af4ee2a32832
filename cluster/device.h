// Which device this rank computes on, and the communicator that serves it.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "cluster/communicator.h"
#include "cluster/process.h"

namespace medfuse::cluster {

/// `choice` is auto, cpu or cuda. cuda: the GPU with this rank's node-local number (modulo the visible ones), each GPU
/// serving one rank. auto: cuda if every rank has a GPU of its own, cpu if no rank sees a GPU, otherwise an error.
/// Collective; every rank throws the same Error(usage) if the choice cannot be met. Sets the current CUDA device.
at::Device choose_device(Process& process, const std::string& choice);

/// NCCL for a CUDA device, MPI for the CPU, over all ranks. Collective. `process` must outlive it.
std::unique_ptr<Communicator> make_communicator(Process& process, at::Device device);

}  // namespace medfuse::cluster
