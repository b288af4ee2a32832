// The MPI communicator: the common suite with short and long paths, over shared memory and by messages, with tiny pieces
// of both, and what is its own.
#include "cluster/mpi_communicator.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>

#include "base/error.h"
#include "cluster/exchange.h"
#include "tests/cluster/communication_failure.h"
#include "tests/cluster/conformance.h"

namespace medfuse::cluster {
namespace {

Backend mpi(const std::string& name, const MpiOptions& options) {
  return {name, [options] { return make_mpi_communicator(test_process(), options); }, [] { return std::string(); }};
}

/// Every second rank forms a group, so that two groups of the same job go through the suite side by side.
std::unique_ptr<Communicator> make_part() {
  const int rank = test_process().rank();
  return make_mpi_communicator(test_process(), {.direct_bytes = 1 << 10})->split(rank % 2, rank);
}

INSTANTIATE_TEST_SUITE_P(Mpi, Conformance,
                         testing::Values(mpi("defaults", {}), mpi("always_in_blocks", {.direct_bytes = 0}),
                                         mpi("tiny_slots", {.direct_bytes = 0, .slot_bytes = 1003}),
                                         mpi("slots_alone", {.direct_bytes = 0, .read_directly = false}),
                                         mpi("messages", {.slot_bytes = 0}),
                                         mpi("messages_in_blocks", {.direct_bytes = 0, .slot_bytes = 0}),
                                         mpi("tiny_messages", {.largest_message = 1003, .direct_bytes = 0, .slot_bytes = 0}),
                                         Backend{"part", make_part, [] { return std::string(); }}),
                         backend_name);

TEST(MpiCommunicator, SumsInRankOrder) {
  const auto communicator = make_mpi_communicator(test_process());
  const int n = communicator->size();
  for (const std::int64_t count : {50, 60001}) {
    at::Tensor expected;
    at::Tensor t;
    for (int r = 0; r < n; ++r) {
      torch::manual_seed(r);
      const at::Tensor part = at::randn({count}, at::kFloat) * 1e3;
      if (r == communicator->rank()) t = part.clone();
      expected = r == 0 ? part.clone() : expected + part;
    }
    communicator->all_reduce(t, Reduction::sum)->wait();
    EXPECT_TRUE(at::equal(t, expected)) << count;
  }
}

TEST(MpiCommunicator, TimeoutNamesRanksAndOperation) {
  const auto communicator = make_mpi_communicator(test_process());
  const int late = communicator->size() - 1;
  if (late == 0) GTEST_SKIP() << "needs two ranks";
  at::Tensor t = at::ones({4096}, at::kFloat);
  if (communicator->rank() != late) {
    communicator->set_timeout(std::chrono::milliseconds(150));
    const auto work = communicator->all_reduce(t, Reduction::sum);
    const std::string message = communication_failure([&] { work->wait(); });
    EXPECT_NE(message.find("rank " + std::to_string(communicator->rank()) + " waited 0.15 s"), std::string::npos) << message;
    EXPECT_NE(message.find("all_reduce (sum) of 4096 x f32"), std::string::npos) << message;
    EXPECT_NE(message.find("for rank " + std::to_string(late) + ";"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  test_process().barrier();
  if (communicator->rank() == late) communicator->all_reduce(t, Reduction::sum)->wait();
  test_process().barrier();
  EXPECT_EQ(t.min().item<float>(), communicator->size());  // the given-up task got its turns all the same
  communicator->set_timeout(std::chrono::minutes(1));
  communicator->barrier();
}

TEST(MpiCommunicator, BarrierTimesOut) {
  const auto communicator = make_mpi_communicator(test_process());
  const int late = communicator->size() - 1;
  if (late == 0) GTEST_SKIP() << "needs two ranks";
  if (communicator->rank() != late) {
    communicator->set_timeout(std::chrono::milliseconds(100));
    const std::string message = communication_failure([&] { communicator->barrier(); });
    EXPECT_NE(message.find("in barrier among"), std::string::npos) << message;
  }
  test_process().barrier();
  if (communicator->rank() == late) communicator->barrier();
}

TEST(MpiCommunicator, DisagreementOnTheSizeIsAnError) {
  const auto communicator = make_mpi_communicator(test_process());
  if (communicator->size() == 1) GTEST_SKIP() << "needs two ranks";
  communicator->set_timeout(std::chrono::seconds(20));
  at::Tensor t = at::ones({communicator->rank() == 0 ? 5 : 6}, at::kFloat);
  const auto work = communicator->all_reduce(t, Reduction::sum);
  const std::string message = communication_failure([&] { work->wait(); });
  if (communicator->size() == 2 || communicator->rank() == 0) {
    EXPECT_NE(message.find("the ranks disagree on the size"), std::string::npos) << message;
  }
  test_process().barrier();
}

TEST(MpiCommunicator, UnwindingDoesNotWait) {
  const auto communicator = make_mpi_communicator(test_process());
  if (communicator->size() == 1) GTEST_SKIP() << "needs two ranks";
  at::Tensor t = at::ones({100000}, at::kFloat);
  if (communicator->rank() == 0) {
    const auto start = std::chrono::steady_clock::now();
    try {
      const auto work = communicator->all_reduce(t, Reduction::sum);
      throw 1;
    } catch (int) {
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    t.reset();
  }
  test_process().barrier();
  if (communicator->rank() != 0) {
    communicator->all_reduce(t, Reduction::sum)->wait();
    EXPECT_EQ(t.min().item<float>(), communicator->size());
  }
  test_process().barrier();
}

TEST(BroadcastTree, ReachesEveryRankOnce) {
  for (int size = 1; size <= 20; ++size) {
    for (int root = 0; root < size; ++root) {
      std::vector<int> reached(static_cast<std::size_t>(size), 0);
      for (int rank = 0; rank < size; ++rank) {
        const Tree tree = broadcast_tree(rank, size, root);
        EXPECT_EQ(tree.parent < 0, rank == root);
        for (const int child : tree.children) {
          ++reached[static_cast<std::size_t>(child)];
          EXPECT_EQ(broadcast_tree(child, size, root).parent, rank);
        }
      }
      for (int rank = 0; rank < size; ++rank) EXPECT_EQ(reached[static_cast<std::size_t>(rank)], rank == root ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace medfuse::cluster
