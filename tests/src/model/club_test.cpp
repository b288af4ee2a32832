#include "src/model/club.h"

#include <gtest/gtest.h>
#include <torch/optim/adam.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

namespace medfuse::model {
namespace {

constexpr std::int64_t kX = 6, kY = 4, kHidden = 8;

ClubEstimator estimator() {
  ClubEstimator module(kX, kY, kHidden, 3);
  module.to(torch::kDouble);
  return module;
}

at::Tensor identity(const at::Tensor& x) { return x; }

// The two MLPs once more, from the parameters' names alone.
at::Tensor mlp(ClubEstimator& module, const std::string& name, const at::Tensor& x) {
  const auto p = module.named_parameters();
  const at::Tensor hidden =
      (x.matmul(p[name + "_in.weight"].t()) + p[name + "_in.bias"]).clamp_min(0);
  return hidden.matmul(p[name + "_out.weight"].t()) + p[name + "_out.bias"];
}

// log N(y; mu(x), exp(logvar(x))) without its constant.
at::Tensor log_density(ClubEstimator& module, const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor mean = mlp(module, "mean", x), log_variance = mlp(module, "variance", x).tanh();
  return (-0.5 * (y - mean).pow(2) / log_variance.exp() - 0.5 * log_variance).sum();
}

at::Tensor all_pairs_bound(ClubEstimator& module, const at::Tensor& x, const at::Tensor& y) {
  const std::int64_t n = x.size(0);
  at::Tensor bound = torch::zeros({}, torch::kDouble);
  for (std::int64_t i = 0; i < n; ++i) {
    bound = bound + log_density(module, x[i], y[i]) / n;
    for (std::int64_t j = 0; j < n; ++j) bound = bound - log_density(module, x[i], y[j]) / (n * n);
  }
  return bound;
}

struct Batch {
  at::Tensor x, y;
};

Batch random_batch(std::int64_t rows) {
  torch::manual_seed(8);
  // A large mean: a variance taken as mean square minus squared mean would lose digits here.
  return {torch::randn({rows, kX}, torch::kDouble).requires_grad_(),
          (torch::randn({rows, kY}, torch::kDouble) + 3).requires_grad_()};
}

std::vector<at::Tensor> gradients(ClubEstimator& module, const Batch& batch) {
  std::vector<at::Tensor> all = {batch.x.grad().clone(), batch.y.grad().clone()};
  for (const at::Tensor& parameter : module.parameters()) all.push_back(parameter.grad().clone());
  batch.x.mutable_grad().reset();
  batch.y.mutable_grad().reset();
  module.zero_grad();
  return all;
}

void expect_close(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_LT((actual[i] - expected[i]).abs().max().item<double>(), 1e-12) << i;
    EXPECT_GT(expected[i].abs().max().item<double>(), 0.0) << i;
  }
}

TEST(Club, LogLikelihoodEqualsALoop) {
  ClubEstimator module = estimator();
  const Batch batch = random_batch(11);
  at::Tensor expected = torch::zeros({}, torch::kDouble);
  for (int i = 0; i < 11; ++i) expected = expected + log_density(module, batch.x[i], batch.y[i]);
  expected.backward();
  const std::vector<at::Tensor> slopes = gradients(module, batch);
  const at::Tensor actual = module.log_likelihood_sum(batch.x, batch.y);
  EXPECT_NEAR(actual.item<double>(), expected.item<double>(), 1e-11);
  actual.backward();
  expect_close(gradients(module, batch), slopes);
}

TEST(Club, BoundEqualsALoopOverAllPairs) {
  ClubEstimator module = estimator();
  const Batch batch = random_batch(11);
  const at::Tensor expected = all_pairs_bound(module, batch.x, batch.y);
  expected.backward();
  const std::vector<at::Tensor> slopes = gradients(module, batch);
  const at::Tensor actual = module.upper_bound_sum(batch.x, batch.y, club_moments(batch.y, 11, identity)) / 11;
  EXPECT_NEAR(actual.item<double>(), expected.item<double>(), 1e-12);
  actual.backward();
  expect_close(gradients(module, batch), slopes);
}

// Each rank is a thread with its rows; a sum over ranks meets at a barrier and joins the ranks' graphs into one.
TEST(Club, DoesNotDependOnTheNumberOfRanks) {
  ClubEstimator module = estimator();
  const Batch batch = random_batch(11);
  const at::Tensor whole = all_pairs_bound(module, batch.x, batch.y);
  whole.backward();
  const std::vector<at::Tensor> slopes = gradients(module, batch);
  for (const std::vector<std::int64_t>& sizes : std::vector<std::vector<std::int64_t>>{{11}, {4, 7}, {5, 0, 6}}) {
    const std::size_t ranks = sizes.size();
    std::vector<at::Tensor> slots(ranks), shares(ranks);
    std::barrier meeting(static_cast<std::ptrdiff_t>(ranks));
    std::vector<std::thread> threads;
    std::int64_t begin = 0;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank, begin] {
        const auto sum_over_ranks = [&](const at::Tensor& x) {
          slots[rank] = x;
          meeting.arrive_and_wait();
          at::Tensor sum = slots[0];
          for (std::size_t other = 1; other < ranks; ++other) sum = sum + slots[other];
          meeting.arrive_and_wait();
          return sum;
        };
        const at::Tensor x = batch.x.narrow(0, begin, sizes[rank]), y = batch.y.narrow(0, begin, sizes[rank]);
        const ClubMoments moments = club_moments(y, 11, sum_over_ranks);
        shares[rank] = module.upper_bound_sum(x, y, moments) / 11;
      });
      begin += sizes[rank];
    }
    for (std::thread& thread : threads) thread.join();
    at::Tensor bound = shares[0];
    for (std::size_t rank = 1; rank < ranks; ++rank) bound = bound + shares[rank];
    EXPECT_NEAR(bound.item<double>(), whole.item<double>(), 1e-12);
    bound.backward();
    expect_close(gradients(module, batch), slopes);
  }
}

TEST(Club, MomentsSurviveALargeMean) {
  const at::Tensor y = torch::tensor({{1e6f}, {1e6f + 1}, {1e6f + 2}});
  const ClubMoments moments = club_moments(y, 3, identity);
  EXPECT_NEAR(moments.mean_G.item<double>(), 1e6 + 1, 0.1);
  EXPECT_NEAR(moments.variance_G.item<double>(), 2.0 / 3.0, 1e-3);
  EXPECT_THROW(club_moments(y, 0, identity), std::logic_error);
}

// Values, moments and slopes against a loop over rows and features, and no trace of the features' scale.
TEST(Club, StandardFeaturesEqualALoopAndForgetTheScale) {
  const at::Tensor raw = (torch::randn({7, 3}, torch::kDouble) * 4 + 2).requires_grad_();
  const at::Tensor direction = torch::randn({7, 3}, torch::kDouble);
  std::vector<at::Tensor> columns;
  for (int g = 0; g < 3; ++g) {
    at::Tensor mean = torch::zeros({}, torch::kDouble), variance = torch::zeros({}, torch::kDouble);
    for (int i = 0; i < 7; ++i) mean = mean + raw[i][g] / 7;
    for (int i = 0; i < 7; ++i) variance = variance + (raw[i][g] - mean).pow(2) / 7;
    std::vector<at::Tensor> column;
    for (int i = 0; i < 7; ++i) column.push_back((raw[i][g] - mean) / (variance + 1e-5).sqrt());
    columns.push_back(torch::stack(column));
  }
  const at::Tensor expected = torch::stack(columns, 1);
  const at::Tensor expected_slope = torch::autograd::grad({(expected * direction).sum()}, {raw})[0];
  const StandardFeatures actual = standard_features(raw, 7, identity);
  EXPECT_LT((actual.values_BG - expected).abs().max().item<double>(), 1e-12);
  EXPECT_LT((actual.moments.mean_G - expected.mean(0)).abs().max().item<double>(), 1e-12);
  EXPECT_LT((actual.moments.variance_G - expected.var(0, false)).abs().max().item<double>(), 1e-12);
  const at::Tensor slope = torch::autograd::grad({(actual.values_BG * direction).sum()}, {raw})[0];
  EXPECT_LT((slope - expected_slope).abs().max().item<double>(), 1e-12);

  const at::Tensor shrunk = standard_features(raw * 0.1, 7, identity).values_BG;
  EXPECT_LT((shrunk - expected).abs().max().item<double>(), 1e-3);
  EXPECT_EQ(standard_features(torch::ones({1, 3}), 1, identity).values_BG.abs().max().item<double>(), 0);
}

// y is made of what x knows and of what it does not. Led by the loss alone it must leave the former, not grow small.
TEST(Club, TheLossTakesOutOfYWhatXKnows) {
  torch::manual_seed(3);
  const std::int64_t rows = 256;
  ClubEstimator module(2, 2, 32, 1);
  const at::Tensor map = torch::eye(2).repeat({2, 1}).requires_grad_();  // y = x + the other, half and half
  torch::optim::Adam fit(module.parameters(), torch::optim::AdamOptions(5e-3));
  torch::optim::Adam move({map}, torch::optim::AdamOptions(1e-2));
  const auto share_of_x = [&] {  // of y's variance
    const at::Tensor squares = map.detach().square();
    return (squares.narrow(0, 0, 2).sum() / squares.sum()).item<double>();
  };
  ASSERT_NEAR(share_of_x(), 0.5, 1e-6);
  for (int step = 0; step < 300; ++step) {
    const at::Tensor x = torch::randn({rows, 2}), other = torch::randn({rows, 2});
    const StandardFeatures y = standard_features(at::cat({x, other}, 1).mm(map), rows, identity);
    for (int i = 0; i < 5; ++i) {
      fit.zero_grad();
      (-module.log_likelihood_sum(x, y.values_BG.detach()) / rows).backward();
      fit.step();
    }
    move.zero_grad();
    (module.upper_bound_sum(x, y.values_BG, y.moments) / rows).backward();
    move.step();
  }
  EXPECT_LT(share_of_x(), 0.02);
  EXPECT_GT(map.detach().norm().item<double>(), 0.5);
}

// Fitted to Gaussians with a known mutual information, the bound is near it; on independent ones it is near zero.
TEST(Club, BoundsTheInformationOfGaussians) {
  torch::manual_seed(9);
  const double correlation = 0.8;
  for (const bool related : {true, false}) {
    ClubEstimator module(1, 1, 32, 1);
    torch::optim::Adam optimizer(module.parameters(), torch::optim::AdamOptions(5e-3));
    const auto sample = [&](std::int64_t rows) {
      const at::Tensor x = torch::randn({rows, 1}), noise = torch::randn({rows, 1});
      const double share = related ? correlation : 0.0;
      return std::pair{x, share * x + std::sqrt(1 - share * share) * noise};
    };
    for (int step = 0; step < 400; ++step) {
      const auto [x, y] = sample(256);
      optimizer.zero_grad();
      (-module.log_likelihood_sum(x, y) / 256).backward();
      optimizer.step();
    }
    const torch::NoGradGuard no_grad;
    const auto [x, y] = sample(20000);
    const double bound = (module.upper_bound_sum(x, y, club_moments(y, 20000, identity)) / 20000).item<double>();
    if (related) {
      EXPECT_GT(bound, -0.5 * std::log(1 - correlation * correlation) - 0.05);  // .51: an upper bound of it
      EXPECT_LT(bound, 2.5);
    } else {
      EXPECT_NEAR(bound, 0.0, 0.05);
    }
  }
}

}  // namespace
}  // namespace medfuse::model
