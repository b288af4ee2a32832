// Which device this rank computes on, and the communicator that serves it.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "cluster/communicator.h"
#include "cluster/process.h"

namespace medfuse::cluster {

/// `choice` is auto, cpu or cuda. cuda: the GPU with this rank's node-local number (modulo the visible ones), each GPU
/// serving one rank. auto: cuda if every rank has a GPU of its own, cpu if no rank sees a GPU, otherwise an error.
/// Collective; the errors of decide_on_cuda() by way of together() if the choice cannot be met. Sets the current CUDA device.
at::Device choose_device(Process& process, const std::string& choice);

/// What a rank sees of GPUs: how many, the hardware address of the one it would take, and how many Slurm has given the job on
/// this node (0: it does not say).
struct RankGpus {
  std::string host;
  int count = 0;
  std::string address;
  int promised = 0;
};

/// The decision behind choose_device, the same on all ranks: whether to use CUDA. Throws Error(usage), or Error(communication)
/// if a rank has none for itself where others see more, or Slurm has given more: one may have fallen out.
bool decide_on_cuda(const std::string& choice, const std::vector<RankGpus>& ranks);

/// NCCL for a CUDA device, MPI for the CPU, over all ranks. Collective. `process` must outlive it.
std::unique_ptr<Communicator> make_communicator(Process& process, at::Device device);

}  // namespace medfuse::cluster
