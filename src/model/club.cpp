#include "src/model/club.h"

#include <stdexcept>

#include "src/model/seed.h"

namespace medfuse::model {

namespace {

constexpr double kVarianceFloor = 1e-5;  // below the spread of any feature that says something, as in LayerNorm

}  // namespace

ClubMoments club_moments(const at::Tensor& y_BG, std::int64_t global_count, const SumOverRanks& sum_over_ranks) {
  if (global_count < 1) throw std::logic_error("the moments of an empty global batch");
  const auto count = static_cast<double>(global_count);
  ClubMoments moments;
  moments.mean_G = sum_over_ranks(y_BG.sum(0)) / count;
  moments.variance_G = sum_over_ranks((y_BG - moments.mean_G).square().sum(0)) / count;
  return moments;
}

StandardFeatures standard_features(const at::Tensor& y_BG, std::int64_t global_count,
                                   const SumOverRanks& sum_over_ranks) {
  const ClubMoments raw = club_moments(y_BG, global_count, sum_over_ranks);
  const at::Tensor kept_variance_G = raw.variance_G + kVarianceFloor;
  StandardFeatures features;
  features.values_BG = (y_BG - raw.mean_G) * kept_variance_G.rsqrt();
  features.moments = {at::zeros_like(raw.mean_G), raw.variance_G / kept_variance_G};
  return features;
}

ClubEstimator::ClubEstimator(std::int64_t x_width, std::int64_t y_width, std::int64_t hidden, std::uint64_t seed) {
  mean_in_ = register_module("mean_in", torch::nn::Linear(x_width, hidden));
  mean_out_ = register_module("mean_out", torch::nn::Linear(hidden, y_width));
  variance_in_ = register_module("variance_in", torch::nn::Linear(x_width, hidden));
  variance_out_ = register_module("variance_out", torch::nn::Linear(hidden, y_width));
  seed_parameters(*this, seed, "club.");
}

at::Tensor ClubEstimator::mean_of(const at::Tensor& x_BF) { return mean_out_(at::relu(mean_in_(x_BF))); }

at::Tensor ClubEstimator::log_variance_of(const at::Tensor& x_BF) {
  return at::tanh(variance_out_(at::relu(variance_in_(x_BF))));
}

at::Tensor ClubEstimator::log_likelihood_sum(const at::Tensor& x_BF, const at::Tensor& y_BG) {
  const at::Tensor mean = mean_of(x_BF);
  const at::Tensor log_variance = log_variance_of(x_BF);
  return -0.5 * ((y_BG - mean).square() * at::exp(-log_variance) + log_variance).sum();
}

at::Tensor ClubEstimator::upper_bound_sum(const at::Tensor& x_BF, const at::Tensor& y_BG, const ClubMoments& global) {
  const at::Tensor mean = mean_of(x_BF);
  const at::Tensor own = (y_BG - mean).square();
  const at::Tensor all = global.variance_G + (global.mean_G - mean).square();
  return 0.5 * ((all - own) * at::exp(-log_variance_of(x_BF))).sum();
}

}  // namespace medfuse::model
