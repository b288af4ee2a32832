// Collectives move while the program computes: what a slow network costs a step, and whether MPI goes on by itself.
// The times are the best of several, since the cores may have other work as well.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/progress.h"
#include "tests/cluster/delayed_communicator.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {
namespace {

using Seconds = double;

template <class F>
Seconds timed(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A fixed amount of work: products of matrices that stay in the cache, as many as took about `length` at first.
class Computation {
 public:
  explicit Computation(Seconds length) {
    run_products(20);
    Seconds once = std::numeric_limits<double>::max();
    for (int i = 0; i < 5; ++i) once = std::min(once, timed([&] { run_products(20); }) / 20);
    products_ = test_process().all_reduce(static_cast<std::int64_t>(length / once) + 1, Combine::max);
  }
  void run() { run_products(products_); }

 private:
  void run_products(std::int64_t products) {
    for (std::int64_t i = 0; i < products; ++i) at::mm_out(product_, factor_, factor_);
  }
  at::Tensor factor_ = at::ones({256, 256}, at::kFloat), product_ = at::empty({256, 256}, at::kFloat);
  std::int64_t products_ = 0;
};

/// Computes the parts of a gradient and sums each while the next is computed.
Seconds step(Communicator& communicator, Computation& computation, int parts) {
  std::vector<at::Tensor> gradients;
  for (int i = 0; i < parts; ++i) gradients.push_back(at::ones({1 << 18}, at::kFloat));
  test_process().barrier();
  const Seconds seconds = timed([&] {
    std::vector<std::unique_ptr<Work>> works;
    for (const at::Tensor& gradient : gradients) {
      computation.run();
      works.push_back(communicator.all_reduce(gradient, Reduction::sum));
    }
    for (const auto& work : works) work->wait();
  });
  for (const at::Tensor& gradient : gradients) EXPECT_EQ(gradient.min().item<float>(), communicator.size());
  return test_process().all_reduce(seconds, Combine::max);
}

TEST(Overlap, AStepHidesMostOfASlowNetwork) {
  constexpr int parts = 6;
  const auto communicator = make_mpi_communicator(test_process());
  Computation computation(0.06);
  Seconds plain = std::numeric_limits<double>::max(), slow = plain, delay = 0;
  for (int round = 0; round < 4; ++round) {
    plain = std::min(plain, step(*communicator, computation, parts));
    DelayedCommunicator delayed(*communicator, std::chrono::milliseconds(50));
    slow = std::min(slow, step(delayed, computation, parts));
    delay = std::chrono::duration<double>(delayed.summed_delay()).count();
  }
  RecordProperty("plain_ms", std::to_string(plain * 1e3));
  RecordProperty("slow_ms", std::to_string(slow * 1e3));
  EXPECT_DOUBLE_EQ(delay, parts * 0.05);
  EXPECT_LT(slow - plain, delay / 2) << "a step took " << plain << " s, with delays " << slow << " s";
  EXPECT_GE(slow, plain + 0.02) << "the last part's delay cannot be hidden: were there delays at all?";
}

/// How long wait() takes after a long collective has been under way during a longer computation.
Seconds wait_after_computing(Communicator& communicator, Computation& computation) {
  at::Tensor t = at::ones({4 << 20}, at::kFloat);  // 16 MiB, in two stages with a sum between
  test_process().barrier();
  const auto work = communicator.all_reduce(t, Reduction::sum);
  computation.run();
  const Seconds seconds = timed([&] { work->wait(); });
  EXPECT_EQ(t.min().item<float>(), communicator.size());
  EXPECT_EQ(t.max().item<float>(), communicator.size());
  return test_process().all_reduce(seconds, Combine::max);
}

class LongReduction : public testing::TestWithParam<std::pair<const char*, MpiOptions>> {};

TEST_P(LongReduction, GoesOnWhileTheProgramComputes) {
  const auto communicator = make_mpi_communicator(test_process(), GetParam().second);
  if (communicator->size() == 1) GTEST_SKIP() << "needs two ranks";
  Computation none(0), computation(0.25);
  Seconds alone = std::numeric_limits<double>::max(), hidden = alone, without_thread = alone;
  for (int round = 0; round < 4; ++round) {
    alone = std::min(alone, wait_after_computing(*communicator, none));
    hidden = std::min(hidden, wait_after_computing(*communicator, computation));
    Progress::instance().set_background(false);
    without_thread = std::min(without_thread, wait_after_computing(*communicator, computation));
    Progress::instance().set_background(true);
  }
  const std::string times = fmt::format("alone {:.2f} ms, after computing {:.2f} ms, then without the thread {:.2f} ms",
                                        alone * 1e3, hidden * 1e3, without_thread * 1e3);
  RecordProperty("times", times);
  EXPECT_LT(hidden, alone / 4) << times;
  EXPECT_GT(without_thread, alone / 3) << times;
}

// By messages, MPI's own requests must move too: MPI does that only within a call.
INSTANTIATE_TEST_SUITE_P(Mpi, LongReduction,
                         testing::Values(std::pair("shared_memory", MpiOptions{}),
                                         std::pair("messages", MpiOptions{.slot_bytes = 0})),
                         [](const auto& path) { return std::string(path.param.first); });

}  // namespace
}  // namespace medfuse::cluster
