// The gated activation of Llama's feed-forward part (Shazeer, arXiv 2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

namespace medfuse::ops {

/// gate * sigmoid(gate) * up, elementwise, computed in the wider of float32 and the inputs' common type.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// The same by plain tensor operations, on any device: what swiglu is proved against.
at::Tensor swiglu_plain(const at::Tensor& gate, const at::Tensor& up);

}  // namespace medfuse::ops
