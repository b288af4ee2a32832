// Root mean square normalisation (Zhang & Sennrich, arXiv 1910.07467).
#pragma once

#include <ATen/core/Tensor.h>

namespace medfuse::ops {

/// y = x / sqrt(mean(x^2) + epsilon) * weight over the last dimension, computed in the wider of float32 and x's type.
/// x: [..., D]; weight: [D], of x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// The same by plain tensor operations, on any device: what rms_norm is proved against.
at::Tensor rms_norm_plain(const at::Tensor& x, const at::Tensor& weight, double epsilon);

}  // namespace medfuse::ops
