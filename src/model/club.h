// Variational upper bound of mutual information, vCLUB (Cheng et al., arXiv 2006.12013), for a batch that is spread over
// ranks: the negatives are the whole global batch, which needs only its mean and variance.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <functional>

namespace medfuse::model {

/// Sum over the ranks of a tensor, with gradient: parallel::global_sum, or the identity on one rank.
using SumOverRanks = std::function<at::Tensor(const at::Tensor&)>;

/// Mean and (biased) variance of each feature over the global batch, with gradient to every rank's rows.
struct ClubMoments {
  at::Tensor mean_G;
  at::Tensor variance_G;
};

/// Two passes, mean then centred squares, so that nothing cancels. y_BG: this rank's rows, B may be 0; global_count:
/// rows on all ranks, at least 1. Calls sum_over_ranks twice, on every rank.
ClubMoments club_moments(const at::Tensor& y_BG, std::int64_t global_count, const SumOverRanks& sum_over_ranks);

/// Features as the bound should see them, (y - mean) / sqrt(variance + 1e-5) by the global batch, with their own moments
/// (zero, and variance / (variance + 1e-5)). Rescaling a feature changes no mutual information, but an estimate on
/// features as they are falls as they shrink: that is the way a model takes to lower the loss.
struct StandardFeatures {
  at::Tensor values_BG;
  ClubMoments moments;
};

/// Collective, and with gradient, as club_moments is.
StandardFeatures standard_features(const at::Tensor& y_BG, std::int64_t global_count,
                                   const SumOverRanks& sum_over_ranks);

/// q(y | x) = N(mu(x), exp(logvar(x))), two MLPs of one hidden layer; logvar ends in tanh.
class ClubEstimator : public torch::nn::Module {
 public:
  /// Every parameter is a function of (seed, its name).
  ClubEstimator(std::int64_t x_width, std::int64_t y_width, std::int64_t hidden, std::uint64_t seed);

  /// Sum over this rank's rows of log q(y_i | x_i) without the constant -G/2 log(2 pi): maximise it, divided by the
  /// global count, in the estimator's own step, with detached x and y.
  at::Tensor log_likelihood_sum(const at::Tensor& x_BF, const at::Tensor& y_BG);

  /// This rank's share of the bound: divided by the global count and summed over ranks it is
  ///   mean_i [ log q(y_i | x_i) - mean_j log q(y_j | x_i) ],  j over the whole global batch, i included,
  /// with mean_j (y_j - mu_i)^2 = variance + (mean - mu_i)^2. Freeze this module's parameters (requires_grad_(false)) or
  /// drop their gradients: the main step must not train the estimator.
  at::Tensor upper_bound_sum(const at::Tensor& x_BF, const at::Tensor& y_BG, const ClubMoments& global);

 private:
  at::Tensor mean_of(const at::Tensor& x_BF);
  at::Tensor log_variance_of(const at::Tensor& x_BF);

  torch::nn::Linear mean_in_{nullptr}, mean_out_{nullptr};
  torch::nn::Linear variance_in_{nullptr}, variance_out_{nullptr};
};

}  // namespace medfuse::model
