// The sharded reducer against the one that gives every rank everything.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <stdexcept>
#include <utility>

#include "cluster/mpi_communicator.h"
#include "cluster/wrapped_communicator.h"
#include "src/parallel/grad_norm.h"
#include "src/parallel/sharded_reducer.h"
#include "tests/cluster/test_process.h"

namespace medfuse::parallel {
namespace {

using cluster::test_process;

std::unique_ptr<cluster::Communicator> communicator() { return cluster::make_mpi_communicator(test_process()); }

/// The same parameters on every rank and call; gradients differ between ranks, and some ranks have none.
std::vector<at::Tensor> parameters(int rank) {
  const std::vector<std::vector<std::int64_t>> shapes = {{3, 4}, {}, {1000}, {0}, {7, 5, 2}, {1}, {33, 9}};
  std::vector<at::Tensor> list;
  for (std::size_t p = 0; p < shapes.size(); ++p) {
    torch::manual_seed(p);
    const auto type = p == 2 ? at::kBFloat16 : p == 5 ? at::kDouble : at::kFloat;
    const at::Tensor parameter = at::randn(shapes[p], type).requires_grad_();
    torch::manual_seed(100 * p + static_cast<std::uint64_t>(rank));
    if ((static_cast<std::size_t>(rank) + p) % 3 != 2) parameter.mutable_grad() = at::randn(shapes[p], type);
    list.push_back(parameter);
  }
  return list;
}

at::Tensor slice(const at::Tensor& tensor, const ElementRange& range) {
  return tensor.detach().reshape({-1}).slice(0, range.begin, range.end);
}

TEST(ShardedReducer, GivesEachRankItsPartOfTheSums) {
  const auto c = communicator();
  for (const double mib : {1e-9, 5e-4, 32.0}) {
    const auto whole = parameters(c->rank()), parts = parameters(c->rank());
    const auto expected = make_bucketed_reducer(whole, *c, {.bucket_mib = mib});
    const auto reducer = make_sharded_reducer(parts, *c, Sharded::states, {.bucket_mib = mib});
    expected->finish();
    reducer->prepare(true);
    reducer->finish();
    const auto owned = reducer->owned();
    const auto gradients = reducer->gradients();
    ASSERT_EQ(gradients.size(), whole.size());
    std::vector<std::int64_t> count;
    for (std::size_t p = 0; p < whole.size(); ++p) {
      EXPECT_TRUE(at::equal(gradients[p].reshape({-1}), slice(whole[p].grad(), owned[p].range))) << p;
      if (owned[p].range.size() == whole[p].numel()) {
        EXPECT_EQ(gradients[p].sizes(), whole[p].sizes());
      }
      count.push_back(owned[p].range.size());
    }
    // Every element has one owner.
    const at::Tensor owners = at::tensor(count, at::kLong);
    c->all_reduce(owners, cluster::Reduction::sum)->wait();
    for (std::size_t p = 0; p < whole.size(); ++p) {
      EXPECT_EQ(owners[static_cast<std::int64_t>(p)].item<std::int64_t>(), whole[p].numel());
    }
    const double norm = std::sqrt(reducer->sum_over_owners(sum_of_squares(gradients)));
    EXPECT_NEAR(norm, gradient_norm(whole), 1e-12 * norm);
    const at::Tensor bits = at::full({1}, norm, at::kDouble), largest = bits.clone();
    c->all_reduce(largest, cluster::Reduction::max)->wait();
    EXPECT_TRUE(at::equal(bits, largest));  // the same on every rank
    reducer->drop_gradients();
    for (const at::Tensor& parameter : parts) EXPECT_FALSE(parameter.grad().defined());
  }
}

// Whole numbers: then the order of the sums does not show.
TEST(ShardedReducer, GradientsOfSeveralPassesAddUp) {
  const auto c = communicator();
  const auto whole = parameters(c->rank()), parts = parameters(c->rank());
  const auto expected = make_bucketed_reducer(whole, *c, {.bucket_mib = 5e-4});
  const auto reducer = make_sharded_reducer(parts, *c, Sharded::gradients, {.bucket_mib = 5e-4});
  for (const auto* list : {&whole, &parts}) {
    for (const at::Tensor& parameter : *list) parameter.mutable_grad().reset();
  }
  for (std::uint64_t pass = 0; pass < 3; ++pass) {
    expected->prepare(pass == 2);
    reducer->prepare(pass == 2);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      // What was accumulated before has gone to its owners.
      if (c->size() > 1) {
        ASSERT_FALSE(parts[p].grad().defined());
      }
      torch::manual_seed(100 * pass + 10 * p + static_cast<std::uint64_t>(c->rank()));
      const at::Tensor gradient = at::randint(-9, 9, whole[p].sizes(), whole[p].options());
      for (const at::Tensor& parameter : {whole[p], parts[p]}) {
        at::Tensor& sum = parameter.mutable_grad();
        sum = sum.defined() ? sum + gradient : gradient.clone();
      }
    }
  }
  expected->finish();
  reducer->finish();
  const auto owned = reducer->owned();
  const auto gradients = reducer->gradients();
  for (std::size_t p = 0; p < whole.size(); ++p) {
    EXPECT_TRUE(at::equal(gradients[p].reshape({-1}), slice(whole[p].grad(), owned[p].range))) << p;
  }
}

// Narrow types are summed in float32 and rounded once, whoever gets the sums.
TEST(ShardedReducer, SumsTravelInTheTypeThatWasAskedFor) {
  const auto c = communicator();
  if (c->size() == 1) GTEST_SKIP() << "nothing travels on one rank";
  for (const auto& [wire, tolerance] :
       {std::pair(at::kFloat, 1e-6), std::pair(at::kBFloat16, 2e-2), std::pair(at::kHalf, 3e-3)}) {
    const auto exact = parameters(c->rank()), whole = parameters(c->rank()), parts = parameters(c->rank());
    const auto in_double = make_bucketed_reducer(exact, *c, {.bucket_mib = 5e-4, .dtype = at::kDouble});
    const auto expected = make_bucketed_reducer(whole, *c, {.bucket_mib = 5e-4, .dtype = wire});
    const auto reducer = make_sharded_reducer(parts, *c, Sharded::states, {.bucket_mib = 5e-4, .dtype = wire});
    for (auto* each : {in_double.get(), expected.get(), reducer.get()}) {
      each->prepare(true);
      each->finish();
    }
    const auto owned = reducer->owned();
    const auto gradients = reducer->gradients();
    for (std::size_t p = 0; p < whole.size(); ++p) {
      const at::Tensor same = slice(whole[p].grad(), owned[p].range);
      EXPECT_TRUE(at::equal(gradients[p].reshape({-1}).to(same.scalar_type()), same)) << p << " as " << wire;
    }
    // Parameter 5 is a double: rounding to what travels shows.
    const double sum = exact[5].grad().item<double>(), error = std::abs(whole[5].grad().item<double>() - sum);
    EXPECT_GT(error, 0) << wire;
    EXPECT_LE(error, tolerance * c->size()) << wire;
  }
}

TEST(ShardedReducer, SharesWhatEachRankHasUpdated) {
  const auto c = communicator();
  for (const double mib : {1e-9, 5e-4, 32.0}) {
    const auto before = parameters(0), list = parameters(c->rank());
    const auto reducer = make_sharded_reducer(list, *c, Sharded::states, {.bucket_mib = mib});
    const auto owned = reducer->owned();
    for (std::size_t p = 0; p < list.size(); ++p) slice(list[p], owned[p].range).mul_(2);
    reducer->share_parameters();
    for (std::size_t p = 0; p < list.size(); ++p) {
      EXPECT_TRUE(at::equal(list[p].detach(), before[p].detach() * 2)) << p;
      EXPECT_TRUE(list[p].is_leaf() && list[p].requires_grad());
    }
  }
}

/// Counts what is sent.
class Counting : public cluster::WrappedCommunicator {
 public:
  using WrappedCommunicator::WrappedCommunicator;
  std::unique_ptr<cluster::Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                                cluster::Reduction reduction) override {
    ++scattered;
    return WrappedCommunicator::reduce_scatter(output, input, reduction);
  }
  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    ++gathered;
    return WrappedCommunicator::all_gather(output, input);
  }
  int scattered = 0, gathered = 0;
};

TEST(ShardedReducer, ParametersTravelInFewerMessagesThanGradients) {
  const auto c = communicator();
  if (c->size() == 1) GTEST_SKIP() << "nothing is sent on one rank";
  for (const double mib : {32.0, 0.5}) {
    Counting counting(*c);
    std::vector<at::Tensor> list;
    for (std::int64_t p = 0; p < 41; ++p) {
      list.push_back(at::arange(7001, p == 20 ? at::kDouble : at::kFloat).add(static_cast<double>(p)).requires_grad_());
    }
    const auto reducer = make_sharded_reducer(list, counting, Sharded::states, {.bucket_mib = mib});
    reducer->prepare(true);
    reducer->finish();
    EXPECT_EQ(counting.scattered, 7);  // 256 KiB, nine parameters, each; one of another type lies between
    const auto owned = reducer->owned();
    for (std::size_t p = 0; p < list.size(); ++p) slice(list[p], owned[p].range).mul_(2);
    reducer->share_parameters();
    EXPECT_EQ(counting.gathered, mib == 32 ? 3 : 5);  // what lies on either side of it, 560 KB, at once or in two parts
    for (std::size_t p = 0; p < list.size(); ++p) {
      EXPECT_TRUE(at::equal(list[p].detach(), at::arange(7001, list[p].scalar_type()).add(static_cast<double>(p)) * 2)) << p;
    }
  }
}

TEST(ShardedReducer, SharesAreEqual) {
  const auto c = communicator();
  torch::manual_seed(1);
  const std::vector<at::Tensor> list = {at::randn({123, 45}), at::randn({6789}), at::randn({10})};
  std::int64_t own = 0, all = 0;
  for (const OwnedPart& part : make_sharded_reducer(list, *c, Sharded::states)->owned()) own += part.range.size();
  for (const at::Tensor& parameter : list) all += parameter.numel();
  EXPECT_LE(own, (all + c->size() - 1) / c->size());
}

TEST(ShardedReducer, RefusesFaults) {
  const auto c = communicator();
  EXPECT_THROW(make_sharded_reducer({}, *c, Sharded::states), std::logic_error);
  EXPECT_THROW(make_sharded_reducer({at::zeros({1})}, *c, Sharded::states, {.bucket_mib = 0}), std::logic_error);
  if (c->size() > 1) {
    EXPECT_THROW(make_sharded_reducer({at::zeros({3, 2}).t()}, *c, Sharded::states), std::logic_error);
  }
}

}  // namespace
}  // namespace medfuse::parallel
