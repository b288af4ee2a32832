// The choice of a device, and the self-test of `medfuse info`.
#include "cluster/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include "base/error.h"
#include "cluster/self_test.h"
#include "cluster/together.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& choice, const std::vector<RankGpus>& ranks, ExitCode code = ExitCode::usage) {
  try {
    decide_on_cuda(choice, ranks);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "";
}

TEST(Device, EveryRankNeedsAGpuOfItsOwn) {
  const std::vector<RankGpus> none = {{"a", 0, ""}, {"a", 0, ""}};
  const std::vector<RankGpus> own = {{"a", 2, "0000:01"}, {"a", 2, "0000:02"}, {"b", 1, "0000:01"}};
  const std::vector<RankGpus> mixed = {{"a", 1, "0000:01"}, {"b", 0, ""}};
  const std::vector<RankGpus> shared = {{"a", 1, "0000:01"}, {"a", 1, "0000:01"}};
  EXPECT_FALSE(decide_on_cuda("auto", none));
  EXPECT_TRUE(decide_on_cuda("auto", own));
  EXPECT_TRUE(decide_on_cuda("cuda", own));
  EXPECT_FALSE(decide_on_cuda("cpu", own));
  EXPECT_FALSE(decide_on_cuda("cpu", mixed));
  EXPECT_THAT(refusal("cuda", none), HasSubstr("rank 0 on a sees no GPU"));
  // A node whose GPU is lost is a reason to start again elsewhere, not to give up.
  for (const char* choice : {"auto", "cuda"}) {
    EXPECT_THAT(refusal(choice, mixed, ExitCode::communication), HasSubstr("rank 1 on b sees no GPU, though there should be 1"));
  }
  const std::vector<RankGpus> lost_all = {{"a", 0, "", 2}, {"a", 0, "", 2}};
  EXPECT_THAT(refusal("cuda", lost_all, ExitCode::communication), HasSubstr("rank 0 on a sees no GPU, though there should be 2"));
  const std::vector<RankGpus> lost_one = {{"a", 1, "0000:01", 2}, {"a", 1, "0000:01", 2}};
  const std::vector<RankGpus> fewer = {{"a", 2, "0000:01"}, {"a", 2, "0000:02"}, {"b", 1, "0000:01"}, {"b", 1, "0000:01"}};
  EXPECT_THAT(refusal("auto", lost_one, ExitCode::communication), HasSubstr("ranks 0 and 1 on a would share one GPU: it shows 1 of 2"));
  EXPECT_THAT(refusal("auto", fewer, ExitCode::communication), HasSubstr("ranks 2 and 3 on b would share one GPU: it shows 1 of 2"));
  EXPECT_THAT(refusal("auto", shared), HasSubstr("ranks 0 and 1 on a would share one GPU"));
  EXPECT_THAT(refusal("gpu", own), HasSubstr("device 'gpu' is not known"));
}

TEST(Device, ChoosesTheCpuWhereThereIsNoGpu) {
  EXPECT_EQ(choose_device(test_process(), "cpu"), at::Device(at::kCPU));
  if (torch::cuda::is_available()) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(choose_device(test_process(), "auto"), at::Device(at::kCPU));
  bool refused = false;
  try {
    choose_device(test_process(), "cuda");
  } catch (const AgreedError& error) {
    refused = test_process().rank() == 0 && error.code() == ExitCode::usage;
  } catch (const SilentExit& exit) {
    refused = test_process().rank() != 0 && exit.code == 2;
  }
  EXPECT_TRUE(refused);
}

TEST(SelfTest, PassesOverTheChosenCommunicator) {
  const auto communicator = make_communicator(test_process(), at::kCPU);
  EXPECT_EQ(communicator->backend(), "mpi");
  const auto lines = self_test(*communicator);
  EXPECT_THAT(lines.front(), HasSubstr("passed"));
  EXPECT_EQ(lines.size(), test_process().size() == 1 ? 1u : 2u);
  const auto ranks = rank_lines(test_process(), at::kCPU);
  ASSERT_EQ(ranks.size(), static_cast<std::size_t>(test_process().size()));
  EXPECT_THAT(ranks.back(), HasSubstr("rank " + std::to_string(test_process().size() - 1) + ": "));
  std::string all;
  for (const auto& line : version_lines()) all += line + "\n";
  EXPECT_THAT(all, testing::AllOf(HasSubstr("Open MPI"), HasSubstr("NCCL"), HasSubstr("LibTorch    2.")));
  if (test_process().rank() == 0) std::cout << all << testing::PrintToString(lines) << "\n" << ranks[0] << "\n";
}

}  // namespace
}  // namespace medfuse::cluster
