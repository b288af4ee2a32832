// Gradients that are sent while the backward pass still runs: started early and in one order, and the same bits as if
// they were sent behind it.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "cluster/mpi_communicator.h"
#include "cluster/wrapped_communicator.h"
#include "src/parallel/flat_buckets.h"
#include "src/parallel/gradient_queue.h"
#include "src/parallel/gradient_reducer.h"
#include "tests/cluster/test_process.h"

namespace medfuse::parallel {
namespace {

using cluster::test_process;

constexpr double bucket_of_one = 1e-9;  // MiB

/// Notes how many elements each reduction has.
class Watched : public cluster::WrappedCommunicator {
 public:
  using WrappedCommunicator::WrappedCommunicator;
  std::unique_ptr<cluster::Work> all_reduce(const at::Tensor& tensor, cluster::Reduction reduction) override {
    lengths.push_back(tensor.numel());
    return WrappedCommunicator::all_reduce(tensor, reduction);
  }
  std::vector<std::int64_t> lengths;
};

/// Layers of different widths, so that a bucket is known by its length.
struct Network {
  explicit Network(at::ScalarType type = at::kFloat) {
    torch::manual_seed(3);
    const std::vector<std::int64_t> widths = {6, 17, 40, 9, 1};
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
      const double scale = 1 / std::sqrt(static_cast<double>(widths[i]));
      parameters.push_back((at::randn({widths[i], widths[i + 1]}, type) * scale).requires_grad_());
    }
  }
  at::Tensor loss(const at::Tensor& x_BD) const {
    at::Tensor h = x_BD;
    for (const at::Tensor& weight : parameters) h = h.matmul(weight).tanh();
    return h.square().sum();
  }
  std::vector<at::Tensor> parameters;  // in the order of the forward pass
};

class OverlapTest : public testing::Test {
 protected:
  std::unique_ptr<cluster::Communicator> c_ = cluster::make_mpi_communicator(test_process());
  /// A rank's samples: another number on each, rank 1 has none.
  at::Tensor samples(at::ScalarType type, std::uint64_t seed = 1) const {
    auto generator = at::detail::createCPUGenerator(seed + static_cast<std::uint64_t>(c_->rank()));
    const std::int64_t count = c_->rank() == 1 ? 0 : 2 + c_->rank();
    return at::randn({count, 6}, generator, at::TensorOptions().dtype(type));
  }
};

TEST_F(OverlapTest, StartsDuringTheBackwardPass) {
  if (c_->size() == 1) GTEST_SKIP() << "nothing is sent on one rank";
  Watched watched(*c_);
  const Network network;
  const auto reducer = make_bucketed_reducer(network.parameters, watched, {.bucket_mib = bucket_of_one});
  for (int step = 0; step < 3; ++step) {
    watched.lengths.clear();
    network.loss(samples(at::kFloat)).backward();  // a micro-batch that only accumulates
    EXPECT_TRUE(watched.lengths.empty());
    reducer->prepare(true);
    if (c_->rank() != 1) {  // which has no sample, and sends all in finish()
      network.loss(samples(at::kFloat, 2)).backward();
      EXPECT_EQ(watched.lengths.size(), 4u);
    }
    reducer->finish();
    EXPECT_EQ(watched.lengths, (std::vector<std::int64_t>{9, 360, 680, 102}));
    for (const at::Tensor& parameter : network.parameters) parameter.mutable_grad().reset();
  }
}

TEST_F(OverlapTest, KeepsTheOrderWhateverComesFirst) {
  if (c_->size() == 1) GTEST_SKIP() << "nothing is sent on one rank";
  Watched watched(*c_);
  const at::Tensor a = at::ones({1}).requires_grad_(), b = at::ones({2}).requires_grad_();
  const at::Tensor d = at::ones({3}).requires_grad_();
  const auto reducer = make_bucketed_reducer({a, b, d}, watched, {.bucket_mib = bucket_of_one});
  reducer->prepare(true);
  // Each rank computes them in another order.
  std::vector<at::Tensor> order = {a, b, d};
  std::rotate(order.begin(), order.begin() + c_->rank() % 3, order.end());
  for (const at::Tensor& parameter : order) parameter.sum().backward();
  EXPECT_EQ(watched.lengths.size(), 3u);
  reducer->finish();
  EXPECT_EQ(watched.lengths, (std::vector<std::int64_t>{3, 2, 1}));
  for (const at::Tensor& parameter : order) {
    EXPECT_TRUE(at::equal(parameter.grad(), at::full_like(parameter, c_->size())));
  }
}

TEST_F(OverlapTest, GivesTheBitsOfAReductionBehindThePass) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const auto wire : {std::optional<at::ScalarType>(), std::optional(at::kBFloat16)}) {
      for (const double mib : {bucket_of_one, 2e-3, 32.0}) {
        const Network overlapped(type), behind(type);
        const auto a = make_bucketed_reducer(overlapped.parameters, *c_, {.bucket_mib = mib, .dtype = wire});
        const auto b = make_bucketed_reducer(behind.parameters, *c_, {.bucket_mib = mib, .dtype = wire});
        for (std::uint64_t micro_batch = 0; micro_batch < 3; ++micro_batch) {
          if (micro_batch == 2) a->prepare(true);
          if (c_->rank() != 1) overlapped.loss(samples(type, micro_batch)).backward();
          if (c_->rank() != 1) behind.loss(samples(type, micro_batch)).backward();
        }
        a->finish();
        b->finish();
        for (std::size_t i = 0; i < overlapped.parameters.size(); ++i) {
          EXPECT_TRUE(at::equal(overlapped.parameters[i].grad(), behind.parameters[i].grad())) << i;
        }
      }
    }
  }
}

TEST_F(OverlapTest, AParameterWithoutGradientDoesNoHarm) {
  Watched watched(*c_);
  const at::Tensor a = at::ones({1}).requires_grad_(), unused = at::ones({2}).requires_grad_();
  const at::Tensor b = at::ones({3}).requires_grad_(), frozen = at::ones({4});
  const auto reducer = make_bucketed_reducer({a, unused, b, frozen}, watched, {.bucket_mib = bucket_of_one});
  for (int step = 0; step < 2; ++step) {
    for (const at::Tensor& parameter : {a, unused, b, frozen}) parameter.mutable_grad().reset();
    reducer->prepare(true);
    at::Tensor sum = a.sum() + 2 * b.sum();
    if (c_->rank() == 0 && step == 1) sum = sum + unused.sum();  // on one rank only
    sum.backward();
    reducer->finish();
    const auto n = static_cast<float>(c_->size());
    EXPECT_EQ(a.grad()[0].item<float>(), n);
    EXPECT_TRUE(at::equal(b.grad(), at::full({3}, 2 * n)));
    EXPECT_TRUE(at::equal(unused.grad(), at::full({2}, static_cast<float>(step))));
    EXPECT_TRUE(at::equal(frozen.grad(), at::zeros({4})));
  }
}

TEST_F(OverlapTest, GradientsAreViewsOfTheirBucket) {
  if (c_->size() == 1) GTEST_SKIP() << "nothing is sent on one rank";
  const Network network;
  const auto reducer = make_bucketed_reducer(network.parameters, *c_);
  network.loss(samples(at::kFloat)).backward();
  reducer->finish();
  for (const at::Tensor& parameter : network.parameters) {
    EXPECT_EQ(parameter.grad().storage().data(), network.parameters[0].grad().storage().data());
    EXPECT_EQ(parameter.grad().sizes(), parameter.sizes());
    EXPECT_TRUE(parameter.grad().is_contiguous());
  }
}

TEST_F(OverlapTest, TakesItsHooksAlong) {
  if (c_->size() == 1) GTEST_SKIP() << "one rank needs none";
  const at::Tensor a = at::ones({1}).requires_grad_(), b = at::ones({1}).requires_grad_();
  auto reducer = make_bucketed_reducer({a}, *c_);
  EXPECT_THROW(make_bucketed_reducer({b, a}, *c_), std::logic_error);
  EXPECT_THROW(make_bucketed_reducer({b, b}, *c_), std::logic_error);
  reducer->prepare(true);
  reducer->finish();
  reducer.reset();
  EXPECT_FALSE(torch::autograd::impl::post_acc_grad_hooks(a));
  EXPECT_FALSE(torch::autograd::impl::post_acc_grad_hooks(b));
  a.sum().backward();
  const auto next = make_bucketed_reducer({b, a}, *c_);
  next->finish();
}

TEST_F(OverlapTest, RefusesAGradientThatChangesTooLate) {
  if (c_->size() == 1) GTEST_SKIP() << "nothing is sent on one rank";
  const at::Tensor a = at::ones({1}).requires_grad_(), b = at::ones({1}).requires_grad_();
  const auto reducer = make_bucketed_reducer({a, b}, *c_, {.bucket_mib = bucket_of_one});
  reducer->prepare(true);
  b.sum().backward();
  EXPECT_THROW(b.sum().backward(), std::logic_error);
  EXPECT_THROW(reducer->prepare(true), std::logic_error);
  reducer->finish();
}

TEST(GradientQueue, HooksMayRunOnManyThreads) {
  std::vector<at::Tensor> parameters;
  for (int i = 0; i < 64; ++i) parameters.push_back(at::ones({8}).requires_grad_());
  const auto buckets = flat_buckets(parameters, 64.0 / (1 << 20), std::nullopt);  // two parameters in each
  ASSERT_EQ(buckets.size(), 32u);
  std::vector<std::size_t> launched;
  GradientQueue queue(buckets, [&](std::size_t bucket) { launched.push_back(bucket); });
  for (int step = 0; step < 20; ++step) {
    launched.clear();
    queue.prepare();
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < parameters.size(); i += 4) parameters[i].sum().backward();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(launched.size(), 32u);
    EXPECT_TRUE(std::is_sorted(launched.begin(), launched.end()));
    queue.finish();
  }
}

TEST(FlatBuckets, CutsFromTheEndOfTheList) {
  const std::vector<at::Tensor> list = {at::ones({3}), at::ones({2, 2}, at::kDouble), at::ones({5}, at::kDouble),
                                        at::ones({}, at::kDouble), at::ones({0}, at::kDouble)};
  const auto buckets = flat_buckets(list, 48.0 / (1 << 20), std::nullopt);
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].elements, 6);
  ASSERT_EQ(buckets[0].parts.size(), 3u);
  EXPECT_EQ(buckets[0].parts[0].number, 4u);
  EXPECT_EQ(buckets[0].parts[2].number, 2u);
  EXPECT_EQ(buckets[0].parts[2].begin, 1);
  EXPECT_EQ(buckets[1].elements, 4);
  EXPECT_EQ(buckets[2].elements, 3);
  EXPECT_EQ(flat_buckets(list, 1, std::nullopt).size(), 2u);  // one type of parameters in each
  EXPECT_EQ(flat_buckets(list, 1, at::kFloat).size(), 2u);
  EXPECT_EQ(flat_buckets(list, 1, at::kFloat)[0].elements, 10);
}

TEST(FlatBuckets, HoldAnEighthOfAllAtMost) {
  constexpr std::int64_t kib = 256;  // elements of float32
  const auto sizes = [](std::int64_t parameters, std::int64_t elements, std::optional<at::ScalarType> wire, double mib = 32) {
    std::vector<std::int64_t> found;
    const std::vector<at::Tensor> list(static_cast<std::size_t>(parameters), at::zeros({elements}));
    for (const FlatBucket& bucket : flat_buckets(list, mib, wire)) found.push_back(bucket.elements / kib);
    return found;
  };
  using Sizes = std::vector<std::int64_t>;
  EXPECT_EQ(sizes(65, 64 * kib, std::nullopt), (Sizes{512, 512, 512, 512, 512, 512, 512, 512, 64}));  // KiB
  EXPECT_EQ(sizes(64, 64 * kib, at::kDouble), Sizes(8, 512));
  EXPECT_EQ(sizes(16, 32 * kib, std::nullopt), (Sizes{256, 256})) << "smaller messages would only be more";
  EXPECT_EQ(sizes(8, 32 * kib, std::nullopt, 0.0625), Sizes(4, 64)) << "unless they are asked for";
  EXPECT_EQ(sizes(64, 64 * kib, std::nullopt, 0.25), Sizes(16, 256));
}

}  // namespace
}  // namespace medfuse::parallel
