// Memory that ranks of one node share: who sees what, what is left behind, and what goes wrong in the collectives over it.
#include "cluster/shared_memory.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstring>
#include <filesystem>
#include <set>
#include <string>

#include "base/error.h"
#include "cluster/mpi_communicator.h"
#include "cluster/reduce_in_order.h"
#include "tests/cluster/communication_failure.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {
namespace {

constexpr auto timeout = std::chrono::minutes(1);
constexpr std::int64_t long_count = 300001;  // several rounds, and no multiple of anything

std::shared_ptr<MpiGroup> world_group() {
  MPI_Comm world;
  MEDFUSE_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &world));
  return std::make_shared<MpiGroup>(world, 1 << 20);
}

std::set<std::string> shared_files() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().find("medfuse") != std::string::npos) names.insert(entry.path().string());
  }
  return names;
}

TEST(SharedMemory, EveryMemberSeesWhatAnotherWrites) {
  const auto group = world_group();
  const int n = group->size(), me = group->rank();
  const auto memory = SharedMemory::map(group, 100000, timeout);
  ASSERT_TRUE(memory) << "the ranks of one machine must be able to share memory";
  for (int r = 0; r < n; ++r) {
    for (const std::size_t place : {0, 50000, 99999}) ASSERT_EQ(memory->of(r)[place], 0);
  }
  test_process().barrier();
  std::memset(memory->of(me), me + 1, 100000);
  test_process().barrier();
  for (int r = 0; r < n; ++r) {
    for (const std::size_t place : {0, 50000, 99999}) EXPECT_EQ(memory->of(r)[place], r + 1);
  }
  EXPECT_EQ(shared_files(), std::set<std::string>{}) << "a name would be left behind by a killed process";
  test_process().barrier();
}

TEST(SharedMemory, OutlivesTheMemberWhoseItWas) {
  const auto group = world_group();
  auto memory = SharedMemory::map(group, 5000, timeout);
  ASSERT_TRUE(memory);
  std::memset(memory->of(group->rank()), 7, 5000);
  test_process().barrier();
  if (group->rank() == 0) memory.reset();
  test_process().barrier();
  if (memory) {
    EXPECT_EQ(memory->of(0)[4999], 7);
  }
}

TEST(SharedMemory, ReadsWhatAnotherMemberHasAnywhere) {
  const auto group = world_group();
  const int n = group->size(), me = group->rank();
  const auto memory = SharedMemory::map(group, sizeof(const char*), timeout);
  ASSERT_TRUE(memory);
  if (!memory->readable()) GTEST_SKIP() << "Linux does not let the ranks read each other's memory here";
  const std::string own(100000, static_cast<char>('a' + me));
  const char* const address = own.data();
  std::memcpy(memory->of(me), &address, sizeof address);
  test_process().barrier();
  for (int r = 0; r < n; ++r) {
    if (r == me) continue;
    const char* from = nullptr;
    std::memcpy(&from, memory->of(r), sizeof from);
    std::string read(own.size(), ' ');
    memory->read(r, read.data(), from, read.size());
    EXPECT_EQ(read, std::string(own.size(), static_cast<char>('a' + r)));
    const std::string message = communication_failure([&] { memory->read(r, read.data(), nullptr, 10); });
    EXPECT_NE(message.find("cannot read memory of rank " + std::to_string(r)), std::string::npos) << message;
  }
  test_process().barrier();
}

TEST(SharedCollectives, DisagreementFailsOnAllRanksAndSoDoesWhatFollows) {
  const auto communicator = make_mpi_communicator(test_process());
  if (communicator->size() == 1) GTEST_SKIP() << "needs two ranks";
  communicator->set_timeout(std::chrono::seconds(20));
  at::Tensor t = at::ones({long_count + (communicator->rank() == 0 ? 1 : 0)}, at::kFloat);
  std::string message = communication_failure([&] { communicator->all_reduce(t, Reduction::sum)->wait(); });
  EXPECT_NE(message.find("the ranks disagree on the size"), std::string::npos) << message;
  EXPECT_NE(message.find("all_reduce (sum) of 30000"), std::string::npos) << message;
  message = communication_failure([&] { communicator->all_reduce(t, Reduction::max)->wait(); });
  EXPECT_NE(message.find("an earlier collective"), std::string::npos) << message;
  test_process().barrier();
}

TEST(SharedCollectives, AnotherOrderIsAnError) {
  const auto communicator = make_mpi_communicator(test_process());
  if (communicator->size() == 1) GTEST_SKIP() << "needs two ranks";
  communicator->set_timeout(std::chrono::seconds(20));
  const at::Tensor whole = at::ones({long_count * communicator->size()}, at::kFloat), part = at::ones({long_count});
  const std::string message = communication_failure([&] {
    if (communicator->rank() == 0) communicator->all_gather(whole, part)->wait();
    else communicator->reduce_scatter(part, whole, Reduction::sum)->wait();
  });
  EXPECT_NE(message.find("the ranks disagree"), std::string::npos) << message;
  test_process().barrier();
}

TEST(SharedCollectives, OneThatWaitsForItsTurnNamesWhoIsMissing) {
  const auto communicator = make_mpi_communicator(test_process());
  const int late = communicator->size() - 1;
  if (late == 0) GTEST_SKIP() << "needs two ranks";
  at::Tensor first = at::ones({long_count}, at::kFloat), second = at::ones({long_count}, at::kDouble);
  if (communicator->rank() != late) {
    communicator->set_timeout(std::chrono::milliseconds(150));
    const auto one = communicator->all_reduce(first, Reduction::sum);
    const auto two = communicator->all_reduce(second, Reduction::sum);
    for (Work* work : {two.get(), one.get()}) {
      const std::string message = communication_failure([&] { work->wait(); });
      EXPECT_NE(message.find("for rank " + std::to_string(late) + ";"), std::string::npos) << message;
    }
  }
  test_process().barrier();
  if (communicator->rank() == late) {
    communicator->all_reduce(first, Reduction::sum)->wait();
    communicator->all_reduce(second, Reduction::sum)->wait();
  }
  communicator->set_timeout(timeout);
  const at::Tensor last = at::ones({long_count}, at::kFloat);
  communicator->all_reduce(last, Reduction::sum)->wait();  // comes after both
  for (const at::Tensor& sum : {first, second, last}) EXPECT_EQ(sum.min().item<double>(), communicator->size());
  test_process().barrier();
}

TEST(SharedCollectives, AnInputMayChangeOnceItsGatheringHasEnded) {
  const auto communicator = make_mpi_communicator(test_process());
  const int n = communicator->size();
  at::Tensor input = at::empty({long_count}, at::kFloat), output = at::empty({n, long_count}, at::kFloat);
  for (int round = 0; round < 20; ++round) {
    input.fill_(100 * round + communicator->rank());
    communicator->all_gather(output, input)->wait();
    input.fill_(-1);
    for (int r = 0; r < n; ++r) {
      EXPECT_EQ(output[r].min().item<float>(), 100 * round + r);
      EXPECT_EQ(output[r].max().item<float>(), 100 * round + r);
    }
  }
}

// Beyond 4 MiB the own part is copied past the caches, where its place allows.
TEST(SharedCollectives, LongPartsAreGatheredAnywhere) {
  const auto communicator = make_mpi_communicator(test_process());
  const int n = communicator->size(), me = communicator->rank();
  for (const std::int64_t count : {std::int64_t{1} << 20, (std::int64_t{1} << 20) + 13, std::int64_t{2400001}}) {
    for (const std::int64_t offset : {0, 1, 4}) {
      const at::Tensor space = at::full({offset + n * count + 1}, -1, at::kFloat);
      const at::Tensor output = space.narrow(0, offset, n * count), input = at::arange(count, at::kFloat).add_(me);
      communicator->all_gather(output, input)->wait();
      for (int r = 0; r < n; ++r) {
        EXPECT_TRUE(at::equal(output.narrow(0, r * count, count), at::arange(count, at::kFloat).add_(r)))
            << "part of rank " << r << ", " << count << " elements, " << offset << " behind the beginning";
      }
      EXPECT_EQ(space[-1].item<float>(), -1);
    }
  }
}

TEST(ReduceInOrder, ResultMayBeAnyPart) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    for (const int count : {1, 7, 5000}) {
      for (int n = 1; n <= 4; ++n) {
        for (int place = 0; place < n; ++place) {
          torch::manual_seed(count + n);
          std::vector<at::Tensor> tensors;
          std::vector<const void*> parts;
          at::Tensor expected;
          const auto wide = type == at::kBFloat16 ? at::kFloat : type;
          for (int r = 0; r < n; ++r) {
            tensors.push_back((at::randn({count}, at::kDouble) * 1e3).to(type));
            parts.push_back(tensors.back().const_data_ptr());
            expected = r == 0 ? tensors[0].to(wide, false, /*copy=*/true) : expected + tensors.back().to(wide);
          }
          at::Tensor& result = tensors[static_cast<std::size_t>(place)];
          reduce_in_order(result.mutable_data_ptr(), parts, count, type, Reduction::sum);
          EXPECT_TRUE(at::equal(result, expected.to(type))) << at::toString(type) << " " << count << " " << n << " " << place;
        }
      }
    }
  }
}

}  // namespace
}  // namespace medfuse::cluster
