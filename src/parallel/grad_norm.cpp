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

double gradient_norm(const std::vector<at::Tensor>& parameters) {
  at::NoGradGuard no_grad;
  at::Tensor squares;  // on the device: one transfer in the end
  for (const at::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) continue;
    const at::Tensor flat = parameter.grad().reshape({-1});
    if (!squares.defined()) squares = at::zeros({}, flat.options().dtype(at::kDouble));
    for (std::int64_t begin = 0; begin < flat.numel(); begin += piece) {
      squares += flat.narrow(0, begin, std::min(piece, flat.numel() - begin)).to(at::kDouble).square().sum();
    }
  }
  return squares.defined() ? std::sqrt(squares.item<double>()) : 0.0;
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
