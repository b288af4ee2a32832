#include "cluster/self_test.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/cuda/CUDAContext.h>
#include <torch/version.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "cluster/mpi_calls.h"
#include "cluster/nccl_api.h"

namespace medfuse::cluster {

namespace {

/// Whole numbers that a wrong rank, a wrong order or a missing part would change.
at::Tensor pattern(int rank, std::int64_t count, at::TensorOptions options) {
  return ((at::arange(count, options.dtype(at::kLong)) * 3 + rank * 5) % 17).to(options.dtype());
}

void expect(const Communicator& communicator, const at::Tensor& got, const at::Tensor& expected, const char* operation) {
  if (at::equal(got, expected)) return;
  communication_error("self-test: rank {} got wrong values from {} over {}", communicator.rank(), operation,
                      communicator.backend());
}

}  // namespace

std::vector<std::string> version_lines() {
  std::vector<std::string> lines;
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0, major = 0, minor = 0;
  MEDFUSE_MPI(MPI_Get_library_version(text, &length));
  MEDFUSE_MPI(MPI_Get_version(&major, &minor));
  const std::string library(text, static_cast<std::size_t>(length));
  lines.push_back(fmt::format("MPI         {} (standard {}.{})", library.substr(0, library.find(',')), major, minor));
  int loaded = 0;
  MEDFUSE_NCCL(nccl(), get_version, &loaded);
  lines.push_back(fmt::format("NCCL        header {}, library {}", nccl_version_text(NCCL_VERSION_CODE),
                              nccl_version_text(loaded)));
  lines.push_back(fmt::format("LibTorch    {}", TORCH_VERSION));
  lines.push_back(fmt::format("CPU         {} hardware threads, {} in use by each rank",
                              std::thread::hardware_concurrency(), at::get_num_threads()));
  const int gpus = static_cast<int>(c10::cuda::device_count());
  if (gpus == 0) lines.push_back("GPU         none visible");
  for (int i = 0; i < gpus; ++i) {
    const auto* properties = at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(i));
    lines.push_back(fmt::format("GPU {}       {}, {:.1f} GiB", i, properties->name,
                                static_cast<double>(properties->totalGlobalMem) / (1 << 30)));
  }
  return lines;
}

std::vector<std::string> rank_lines(Process& process, at::Device device) {
  return process.all_gather(fmt::format("rank {}: {}, node-local rank {} of {}, {}", process.rank(), process.host(),
                                        process.local_rank(), process.local_size(), device.str()));
}

std::vector<std::string> self_test(Communicator& communicator) {
  const int n = communicator.size(), me = communicator.rank();
  const at::TensorOptions options = at::TensorOptions(communicator.device()).dtype(at::kFloat);
  constexpr std::int64_t count = 1000;
  at::Tensor sum = at::zeros({count}, options);
  std::vector<at::Tensor> parts;
  for (int r = 0; r < n; ++r) {
    parts.push_back(pattern(r, count, options));
    sum += parts.back();
  }
  at::Tensor t = parts[static_cast<std::size_t>(me)].clone();
  communicator.all_reduce(t, Reduction::sum)->wait();
  expect(communicator, t, sum, "all_reduce");
  at::Tensor all = at::empty({n * count}, options);
  communicator.all_gather(all, parts[static_cast<std::size_t>(me)])->wait();
  expect(communicator, all, at::cat(parts), "all_gather");
  t = parts[static_cast<std::size_t>(me)].clone();
  communicator.broadcast(t, n - 1)->wait();
  expect(communicator, t, parts.back(), "broadcast");
  communicator.barrier();
  const std::string passed =
      fmt::format("self-test   passed: all_reduce, all_gather, broadcast over {} among {} ranks", communicator.backend(), n);
  if (n == 1) return {passed};  // nothing travels: no rate to tell

  constexpr std::int64_t mib = 16, rounds = 4;
  at::Tensor large = at::zeros({mib << 18}, options);
  communicator.all_reduce(large, Reduction::sum)->wait();
  communicator.barrier();
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < rounds; ++i) communicator.all_reduce(large, Reduction::sum)->wait();
  communicator.barrier();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / rounds;
  return {passed,
          fmt::format("all_reduce  {} MiB in {:.2f} ms ({:.2f} GB/s)", mib, seconds * 1e3,
                      static_cast<double>(mib << 20) / seconds / 1e9)};
}

}  // namespace medfuse::cluster
