// Gradient reduction, the global sum with gradients, and the clipping norm, each against one rank doing all the work.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "cluster/mpi_communicator.h"
#include "src/parallel/global_sum.h"
#include "src/parallel/grad_norm.h"
#include "src/parallel/gradient_reducer.h"
#include "tests/cluster/test_process.h"

namespace medfuse::parallel {
namespace {

using cluster::test_process;

std::unique_ptr<cluster::Communicator> communicator() { return cluster::make_mpi_communicator(test_process()); }

/// Gradient of parameter p on a rank: whole numbers, exact in every type; none for some.
at::Tensor gradient(int rank, int p, at::IntArrayRef shape, at::ScalarType type) {
  if ((rank + p) % 3 == 2) return at::Tensor();
  return at::full(shape, 1 + rank + 2 * p, type);
}

std::vector<at::Tensor> parameters(int rank, at::ScalarType type, bool mixed) {
  const std::vector<std::vector<std::int64_t>> shapes = {{3, 4}, {}, {1000}, {0}, {7, 5, 2}, {200}};
  std::vector<at::Tensor> list;
  for (int p = 0; p < static_cast<int>(shapes.size()); ++p) {
    const auto own_type = mixed && p % 2 == 1 ? at::kDouble : type;
    at::Tensor parameter = at::zeros(shapes[static_cast<std::size_t>(p)], own_type).requires_grad_();
    parameter.mutable_grad() = gradient(rank, p, parameter.sizes(), own_type);
    list.push_back(parameter);
  }
  return list;
}

void expect_sums(const std::vector<at::Tensor>& list, int ranks) {
  for (int p = 0; p < static_cast<int>(list.size()); ++p) {
    const at::Tensor& parameter = list[static_cast<std::size_t>(p)];
    at::Tensor expected = at::zeros_like(parameter, at::kDouble);
    for (int r = 0; r < ranks; ++r) {
      const at::Tensor part = gradient(r, p, parameter.sizes(), at::kDouble);
      if (part.defined()) expected += part;
    }
    ASSERT_TRUE(parameter.grad().defined()) << p;
    EXPECT_EQ(parameter.grad().scalar_type(), parameter.scalar_type());
    EXPECT_TRUE(at::equal(parameter.grad().to(at::kDouble), expected)) << p;
    EXPECT_FALSE(parameter.grad().requires_grad());
  }
}

TEST(GradientReducer, SumsWhateverTheBuckets) {
  const auto c = communicator();
  for (const double mib : {1e-9, 1e-3, 32.0}) {
    for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      for (const bool mixed : {false, true}) {
        auto list = parameters(c->rank(), type, mixed);
        const auto reducer = make_bucketed_reducer(list, *c, {.bucket_mib = mib});
        reducer->prepare(true);
        reducer->finish();
        expect_sums(list, c->size());
      }
    }
  }
}

TEST(GradientReducer, MayReduceInAnotherType) {
  const auto c = communicator();
  auto list = parameters(c->rank(), at::kBFloat16, true);
  make_bucketed_reducer(list, *c, {.dtype = at::kFloat})->finish();
  expect_sums(list, c->size());

  // f32 gradients sent as bf16 lose their low bits on the way, and only there.
  at::Tensor fine = at::zeros({4}).requires_grad_();
  fine.mutable_grad() = at::full({4}, c->rank() == 0 ? 1.001 : 0.0, at::kFloat);
  make_bucketed_reducer({fine}, *c, {.dtype = at::kBFloat16})->finish();
  EXPECT_EQ(fine.grad()[0].item<float>(), c->size() == 1 ? 1.001f : 1.0f);
}

TEST(GradientReducer, TakesGradientsThatAreNotContiguous) {
  const auto c = communicator();
  at::Tensor parameter = at::zeros({4, 6}).requires_grad_();
  parameter.mutable_grad() = at::arange(24, at::kFloat).view({6, 4}).t();
  make_bucketed_reducer({parameter}, *c)->finish();
  EXPECT_TRUE(at::equal(parameter.grad(), at::arange(24, at::kFloat).view({6, 4}).t() * c->size()));
}

TEST(GradientReducer, RefusesFaults) {
  const auto c = communicator();
  EXPECT_THROW(make_bucketed_reducer({}, *c), std::logic_error);
  EXPECT_THROW(make_bucketed_reducer({at::zeros({1})}, *c, {.bucket_mib = 0}), std::logic_error);
  EXPECT_THROW(make_bucketed_reducer({at::Tensor()}, *c), std::logic_error);
}

TEST(GradientReducer, EqualsOneRankDoingAll) {
  // A small network, each rank with its share of 12 samples (also none), loss = local sum / global count.
  const auto c = communicator();
  torch::manual_seed(1);
  const at::Tensor x_BD = at::randn({12, 5}, at::kDouble), y_B = at::randn({12}, at::kDouble);
  const at::Tensor w = at::randn({5}, at::kDouble);
  at::Tensor all = w.clone().requires_grad_(), own = w.clone().requires_grad_();
  ((x_BD.matmul(all).tanh() - y_B).square().sum() / 12).backward();

  const int n = c->size(), r = c->rank();
  const std::int64_t begin = r == 0 ? 0 : 12 * (r - 1) / std::max(1, n - 1);
  const std::int64_t end = r == 0 ? (n == 1 ? 12 : 0) : 12 * r / (n - 1);  // rank 0 of several has no sample
  ((x_BD.slice(0, begin, end).matmul(own).tanh() - y_B.slice(0, begin, end)).square().sum() / 12).backward();
  make_bucketed_reducer({own}, *c)->finish();
  EXPECT_TRUE(at::allclose(own.grad(), all.grad(), 1e-12, 1e-14));
}

TEST(GlobalSum, GradientsEqualOneRankDoingAll) {
  // L = sum_i (x_i - mean)^2 / var-like terms of the global batch: nonlinear in two global sums.
  const auto c = communicator();
  const int n = c->size(), r = c->rank();
  torch::manual_seed(2);
  const at::Tensor x_BD = at::randn({4 * n, 3}, at::kDouble);
  const at::Tensor w = at::randn({3}, at::kDouble);

  at::Tensor all = w.clone().requires_grad_();
  const at::Tensor z_B = x_BD.matmul(all).tanh();
  const at::Tensor mean = z_B.sum() / (4 * n);
  const at::Tensor variance = (z_B - mean).square().sum() / (4 * n);
  const at::Tensor whole = ((z_B - mean).pow(4) / variance).sum();
  whole.backward();

  at::Tensor own = w.clone().requires_grad_();
  const at::Tensor z_own = x_BD.slice(0, 4 * r, 4 * r + 4).matmul(own).tanh();
  const at::Tensor mean_own = global_sum(z_own.sum(), *c) / (4 * n);
  const at::Tensor variance_own = global_sum((z_own - mean_own).square().sum(), *c) / (4 * n);
  const at::Tensor share = ((z_own - mean_own).pow(4) / variance_own).sum();
  share.backward();
  make_bucketed_reducer({own}, *c)->finish();

  at::Tensor total = share.detach().clone();
  c->all_reduce(total, cluster::Reduction::sum)->wait();
  EXPECT_NEAR(total.item<double>(), whole.item<double>(), 1e-12 * std::abs(whole.item<double>()));
  EXPECT_TRUE(at::allclose(own.grad(), all.grad(), 1e-11, 1e-13)) << own.grad() << all.grad();
}

TEST(GlobalSum, AgreesWithFiniteDifferences) {
  const auto c = communicator();
  const auto loss_share = [&](const at::Tensor& x) {  // L_r = a_r * (sum over ranks of x_r^3)^2
    return (c->rank() + 1) * global_sum(x.pow(3), *c).square().sum();
  };
  const auto global_loss = [&](const at::Tensor& x) {
    at::NoGradGuard no_grad;
    at::Tensor loss = loss_share(x).clone();
    c->all_reduce(loss, cluster::Reduction::sum)->wait();
    return loss.item<double>();
  };
  at::Tensor x = at::full({2}, 0.3 + 0.1 * c->rank(), at::kDouble).requires_grad_();
  loss_share(x).backward();
  for (int moved = 0; moved < c->size(); ++moved) {  // one rank moves its x, all compute
    const double h = 1e-5;
    at::Tensor up = x.detach().clone(), down = x.detach().clone();
    if (c->rank() == moved) {
      up[1] += h;
      down[1] -= h;
    }
    const double slope = (global_loss(up) - global_loss(down)) / (2 * h);
    if (c->rank() == moved) {
      EXPECT_NEAR(x.grad()[1].item<double>(), slope, 1e-7 * std::max(1.0, std::abs(slope)));
    }
  }
}

TEST(GlobalSum, LeavesItsInputAlone) {
  const auto c = communicator();
  const at::Tensor x = at::ones({3, 2}, at::kFloat).t();
  const at::Tensor sum = global_sum(x, *c);
  EXPECT_EQ(sum.sizes(), x.sizes());
  EXPECT_EQ(x.sum().item<float>(), 6);
  EXPECT_EQ(sum.sum().item<float>(), 6 * c->size());
}

TEST(GradientNorm, SumsInDoublePrecision) {
  at::Tensor a = at::zeros({3}).requires_grad_(), b = at::zeros({2, 2}).requires_grad_(), none = at::zeros({5});
  a.mutable_grad() = at::full({3}, 2.0, at::kFloat);
  b.mutable_grad() = at::full({2, 2}, 1e4, at::kFloat);
  EXPECT_DOUBLE_EQ(gradient_norm({a, none, b}), std::sqrt(3 * 4.0 + 4 * 1e8));
  EXPECT_EQ(gradient_norm({none}), 0.0);
  at::Tensor c = at::zeros({1 << 21}, at::kBFloat16).requires_grad_();
  c.mutable_grad() = at::ones_like(c);
  EXPECT_DOUBLE_EQ(gradient_norm({c}), std::sqrt(std::pow(2.0, 21)));
  at::Tensor d = at::zeros({2}, at::kDouble).requires_grad_();
  d.mutable_grad() = at::full({2}, 3.0, at::kDouble);
  EXPECT_DOUBLE_EQ(gradient_norm({d}), std::sqrt(18.0));
  EXPECT_EQ(d.grad()[0].item<double>(), 3.0);
}

TEST(ClipGradients, ScalesOnlyWhatIsTooLong) {
  at::Tensor a = at::zeros({2}, at::kDouble).requires_grad_();
  a.mutable_grad() = at::tensor({3.0, 4.0}, at::kDouble);
  EXPECT_DOUBLE_EQ(clip_gradients({a}, 10), 5);
  EXPECT_EQ(a.grad()[1].item<double>(), 4.0);
  EXPECT_DOUBLE_EQ(clip_gradients({a}, 0), 5);
  EXPECT_EQ(a.grad()[1].item<double>(), 4.0);
  EXPECT_DOUBLE_EQ(clip_gradients({a}, 1), 5);
  EXPECT_DOUBLE_EQ(gradient_norm({a}), 1);
  a.mutable_grad() = at::tensor({std::numeric_limits<double>::infinity(), 1.0}, at::kDouble);
  EXPECT_TRUE(std::isinf(clip_gradients({a}, 1)));
  EXPECT_EQ(a.grad()[1].item<double>(), 1.0);
}

}  // namespace
}  // namespace medfuse::parallel
