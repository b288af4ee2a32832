#include "src/parallel/grad_norm.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace medfuse::parallel {

namespace {

/// Pieces keep the float64 copies small beside an embedding matrix.
constexpr std::int64_t piece = 1 << 20;

}  // namespace

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  at::NoGradGuard no_grad;
  at::Tensor squares;  // on the device: one transfer in the end
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.defined()) continue;
    const at::Tensor flat = tensor.reshape({-1});
    if (!squares.defined()) squares = at::zeros({}, flat.options().dtype(at::kDouble));
    for (std::int64_t begin = 0; begin < flat.numel(); begin += piece) {
      squares += flat.narrow(0, begin, std::min(piece, flat.numel() - begin)).to(at::kDouble).square().sum();
    }
  }
  return squares.defined() ? squares.item<double>() : 0.0;
}

double gradient_norm(const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : parameters) gradients.push_back(parameter.grad());
  return std::sqrt(sum_of_squares(gradients));
}

double clip_gradients(const std::vector<at::Tensor>& parameters, double max_norm) {
  at::NoGradGuard no_grad;
  const double norm = gradient_norm(parameters);
  if (!(max_norm > 0) || !std::isfinite(norm) || norm <= max_norm) return norm;
  for (const at::Tensor& parameter : parameters) {
    if (parameter.grad().defined()) parameter.grad().mul_(max_norm / norm);
  }
  return norm;
}

}  // namespace medfuse::parallel
