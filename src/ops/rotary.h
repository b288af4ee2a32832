// Rotary position embedding (Su et al., arXiv 2104.09864) in the layout of Hugging Face: feature i of a head is paired
// with feature i + half.
#pragma once

#include <ATen/core/Tensor.h>

namespace medfuse::ops {

/// x: [T, H, 2 * half]; cos, sin: [T, half], the angles of each row's position, of the wider of float32 and x's type.
at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// The same by plain tensor operations, on any device: what rotary is proved against.
at::Tensor rotary_plain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace medfuse::ops
