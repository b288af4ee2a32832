#include "cluster/device.h"

#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "cluster/mpi_communicator.h"
#include "cluster/nccl_communicator.h"
#include "cluster/together.h"

namespace medfuse::cluster {

namespace {

RankGpus own_gpus(const Process& process, int index, int count) {
  RankGpus gpus{process.host(), count, "", 0};
  if (const char* const promised = std::getenv("SLURM_GPUS_ON_NODE")) gpus.promised = std::atoi(promised);
  char address[32] = "";
  if (count > 0 && cudaDeviceGetPCIBusId(address, sizeof(address), index) == cudaSuccess) gpus.address = address;
  return gpus;
}

}  // namespace

bool decide_on_cuda(const std::string& choice, const std::vector<RankGpus>& ranks) {
  if (choice != "auto" && choice != "cpu" && choice != "cuda") {
    usage_error("device '{}' is not known: use auto, cpu or cuda", choice);
  }
  if (choice == "cpu") return false;
  int most = 0;
  for (const RankGpus& gpus : ranks) most = std::max(most, gpus.count);
  if (choice == "auto" && most == 0) return false;
  std::map<std::pair<std::string, std::string>, std::size_t> taken;  // (host, GPU) -> rank
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankGpus& gpus = ranks[rank];
    // A GPU that fell out: on other nodes, or after a repair, the same command may work.
    const int expected = std::max(most, gpus.promised);
    if (gpus.count == 0) {
      if (expected == 0) {
        usage_error("rank {} on {} sees no GPU (CUDA_VISIBLE_DEVICES, driver?): ask for device = cpu, or give it one", rank,
                    gpus.host);
      }
      communication_error("rank {} on {} sees no GPU, though there should be {}: look at that node (driver, "
                          "CUDA_VISIBLE_DEVICES), or ask for device = cpu", rank, gpus.host, expected);
    }
    const auto [other, free] = taken.emplace(std::pair(gpus.host, gpus.address), rank);
    if (!free && gpus.count < expected) {
      communication_error("ranks {} and {} on {} would share one GPU: it shows {} of {}: look at that node (driver, "
                          "CUDA_VISIBLE_DEVICES), or start fewer ranks there", other->second, rank, gpus.host, gpus.count,
                          expected);
    }
    if (!free) {
      usage_error("ranks {} and {} on {} would share one GPU, which NCCL refuses: start at most one rank per GPU, or ask "
                  "for device = cpu",
                  other->second, rank, gpus.host);
    }
  }
  return true;
}

at::Device choose_device(Process& process, const std::string& choice) {
  const int count = choice == "cpu" ? 0 : static_cast<int>(c10::cuda::device_count());
  const int index = count > 0 ? process.local_rank() % count : 0;
  const RankGpus own = own_gpus(process, index, count);
  std::vector<RankGpus> ranks;
  for (const std::string& line : process.all_gather(fmt::format("{} {} {} {}", own.count, own.promised, own.host, own.address))) {
    std::istringstream words(line);
    RankGpus gpus;
    words >> gpus.count >> gpus.promised >> gpus.host >> gpus.address;  // no address where there is no GPU
    ranks.push_back(std::move(gpus));
  }
  bool cuda = false;
  together(process, [&] { cuda = decide_on_cuda(choice, ranks); });
  if (!cuda) return at::kCPU;
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::unique_ptr<Communicator> make_communicator(Process& process, at::Device device) {
  return device.is_cuda() ? make_nccl_communicator(process, device) : make_mpi_communicator(process);
}

}  // namespace medfuse::cluster
