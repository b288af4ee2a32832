#include "src/evaluate/disentanglement.h"

#include <torch/optim/adam.h>
#include <torch/optim/lbfgs.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "src/model/club.h"

namespace medfuse::evaluate {

namespace {

constexpr double kProbePenalty = 0.01;  // times half the squared weights, beside the mean loss of a decision
constexpr std::int64_t kEstimatorWidth = 128;
constexpr int kEstimatorSteps = 400;
constexpr int kCheckEvery = 5;  // steps between looks at the rows held back
constexpr int kPatience = 50;   // steps without a better look, and the estimator only learns by heart

at::Tensor labels_of(const Predictions& p) {
  const auto diseases = static_cast<std::int64_t>(p.diseases.size());
  return torch::tensor(std::vector<double>(p.labels.begin(), p.labels.end()), torch::kFloat64)
      .view({static_cast<std::int64_t>(p.size()), diseases});
}

/// Features with the mean and spread of the fitted rows taken out, so that no figure depends on their scale.
struct Standard {
  explicit Standard(const at::Tensor& fitted_NF)
      : mean(fitted_NF.mean(0)), spread(fitted_NF.std(0, /*unbiased=*/false).clamp_min(1e-6)) {}
  at::Tensor operator()(const at::Tensor& x_NF) const { return (x_NF - mean) / spread; }
  at::Tensor single(const at::Tensor& x_NF) const { return (*this)(x_NF).to(torch::kFloat32); }
  at::Tensor mean, spread;
};

std::optional<double> probe(const at::Tensor& fitted_NF, const Predictions& fitted, const at::Tensor& judged_NF,
                            const Predictions& judged) {
  const Standard standard(fitted_NF);
  const at::Tensor x = standard(fitted_NF), y = labels_of(fitted);
  at::Tensor weight = torch::zeros({x.size(1), y.size(1)}, torch::dtype(torch::kFloat64).requires_grad(true));
  at::Tensor bias = torch::zeros({y.size(1)}, torch::dtype(torch::kFloat64).requires_grad(true));
  torch::optim::LBFGS optimizer({weight, bias}, torch::optim::LBFGSOptions(1.0).max_iter(100).line_search_fn("strong_wolfe"));
  optimizer.step([&] {
    optimizer.zero_grad();
    const at::Tensor loss = torch::binary_cross_entropy_with_logits(x.mm(weight) + bias, y) +
                            0.5 * kProbePenalty * weight.square().sum() / y.size(1);
    loss.backward();
    return loss;
  });
  const torch::NoGradGuard no_grad;
  const at::Tensor probabilities = (standard(judged_NF).mm(weight) + bias).sigmoid().contiguous();
  Predictions probed = judged;
  probed.probabilities.assign(probabilities.data_ptr<double>(), probabilities.data_ptr<double>() + probabilities.numel());
  return score(probed, std::vector<double>(probed.diseases.size(), 0.5)).macro_auroc;
}

double fresh_bound(const at::Tensor& x_NF, const at::Tensor& y_NG, const at::Tensor& judged_x, const at::Tensor& judged_y,
                   std::uint64_t seed) {
  model::ClubEstimator estimator(x_NF.size(1), y_NG.size(1), kEstimatorWidth, seed ^ 0x9e3779b97f4a7c15u);
  torch::optim::Adam optimizer(estimator.parameters(), torch::optim::AdamOptions(1e-3));
  const std::int64_t held = std::max<std::int64_t>(1, x_NF.size(0) / 5), kept = x_NF.size(0) - held;
  const auto bound = [&] {
    const auto same = [](const at::Tensor& t) { return t; };
    const std::int64_t rows = judged_x.size(0);
    return estimator.upper_bound_sum(judged_x, judged_y, model::club_moments(judged_y, rows, same)).item<double>() /
           static_cast<double>(rows);
  };
  double best_likelihood = -std::numeric_limits<double>::infinity(), best = 0;
  int best_step = 0;
  for (int step = 0; step < kEstimatorSteps && step - best_step <= kPatience; ++step) {
    if (step % kCheckEvery == 0) {
      const torch::NoGradGuard no_grad;
      const double likelihood =
          estimator.log_likelihood_sum(x_NF.narrow(0, kept, held), y_NG.narrow(0, kept, held)).item<double>();
      if (likelihood > best_likelihood) {
        best_likelihood = likelihood;
        best_step = step;
        best = bound();
      }
    }
    optimizer.zero_grad();
    (-estimator.log_likelihood_sum(x_NF.narrow(0, 0, kept), y_NG.narrow(0, 0, kept)) / kept).backward();
    optimizer.step();
  }
  return best;
}

void check(const Inference& inference) {
  if (!inference.specific_NF.defined() || !inference.shared_NG.defined()) {
    throw std::logic_error("disentanglement: there are no parts of a fusion");
  }
  check_labelled(inference.predictions);
}

}  // namespace

Disentanglement disentanglement(const Inference& fitted, const Inference& judged, std::uint64_t seed) {
  check(fitted);
  check(judged);
  if (fitted.predictions.size() < 2) throw std::logic_error("disentanglement: too few samples to fit");
  const auto probed = [&](const at::Tensor& fitted_NF, const at::Tensor& judged_NF) {
    return probe(fitted_NF, fitted.predictions, judged_NF, judged.predictions);
  };
  const std::int64_t half = fitted.specific_NF.size(1) / 2;
  Disentanglement result;
  result.text_auroc = probed(fitted.specific_NF.narrow(1, 0, half), judged.specific_NF.narrow(1, 0, half));
  result.labs_auroc = probed(fitted.specific_NF.narrow(1, half, half), judged.specific_NF.narrow(1, half, half));
  result.shared_auroc = probed(fitted.shared_NG, judged.shared_NG);
  const Standard specific(fitted.specific_NF), shared(fitted.shared_NG);
  result.mutual_information = fresh_bound(specific.single(fitted.specific_NF), shared.single(fitted.shared_NG),
                                          specific.single(judged.specific_NF), shared.single(judged.shared_NG), seed);
  return result;
}

}  // namespace medfuse::evaluate
