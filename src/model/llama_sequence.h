// Token sequences laid end to end without padding, and what each row of the result needs to know about itself.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "src/ops/dropout.h"

namespace medfuse::model {

/// T: sum of the lengths; B: samples.
struct LlamaSequence {
  std::vector<std::int64_t> lengths;
  at::Tensor tokens_T;
  at::Tensor cos_TF;  ///< F = head_dim / 2; of the wider of float32 and the compute type
  at::Tensor sin_TF;
  ops::DropoutKeys keys;  ///< one per row

  /// Each sample's last row only: the same fields for these, one row a sample.
  at::Tensor last_B;
  at::Tensor last_cos_BF;
  at::Tensor last_sin_BF;
  ops::DropoutKeys last_keys;
};

}  // namespace medfuse::model
