// The common suite over NCCL: one GPU for each rank, or it is skipped.
#include "cluster/nccl_communicator.h"

#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <string>

#include "tests/cluster/conformance.h"

namespace medfuse::cluster {
namespace {

std::string no_gpus() {
  if (!torch::cuda::is_available()) return "no CUDA device on this machine";
  const std::size_t gpus = torch::cuda::device_count();
  const int ranks = test_process().local_size();
  if (gpus < static_cast<std::size_t>(ranks)) {
    return std::to_string(ranks) + " ranks need a GPU each, there are " + std::to_string(gpus);
  }
  return "";
}

std::unique_ptr<Communicator> make() {
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(test_process().local_rank()));
  return make_nccl_communicator(test_process(), device);
}

std::unique_ptr<Communicator> make_part() {
  const int rank = test_process().rank();
  return make()->split(rank % 2, rank);
}

INSTANTIATE_TEST_SUITE_P(Nccl, Conformance,
                         testing::Values(Backend{"all", make, no_gpus, false}, Backend{"part", make_part, no_gpus, false}),
                         backend_name);

TEST(NcclCommunicator, FollowsTheCurrentStream) {
  if (const std::string reason = no_gpus(); !reason.empty()) GTEST_SKIP() << reason;
  const auto communicator = make();
  // Long work before, the sum in between, work after: only the streams' order makes this right.
  at::Tensor a = at::ones({2048, 2048}, at::TensorOptions(communicator->device()).dtype(at::kFloat));
  for (int i = 0; i < 20; ++i) a = a.mm(a) / 2048;
  communicator->all_reduce(a, Reduction::sum)->wait();
  a = a * 2;
  EXPECT_EQ(a.min().item<float>(), 2.0f * static_cast<float>(communicator->size()));
}

TEST(NcclCommunicator, NeedsANumberedCudaDevice) {
  EXPECT_THROW(make_nccl_communicator(test_process(), at::kCPU), std::logic_error);
}

}  // namespace
}  // namespace medfuse::cluster
