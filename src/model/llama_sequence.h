// Token sequences laid end to end without padding, and what each row of the result needs to know about itself.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "src/model/row_share.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

/// N rows and their places in the samples.
struct LlamaRows {
  at::Tensor cos_NF;  ///< F = head_dim / 2; of the wider of float32 and the compute type
  at::Tensor sin_NF;
  ops::DropoutKeys keys;  ///< one per row
  RowShare share;         ///< how they lie on the ranks between projections
  ops::DropoutKeys own_keys;  ///< keys of those that this rank has there
};

/// T: sum of the lengths; B: samples.
struct LlamaSequence {
  std::vector<std::int64_t> lengths;
  at::Tensor tokens_T;
  LlamaRows all;
  at::Tensor last_B;  ///< each sample's last row
  LlamaRows last;     ///< these alone; never split
};

}  // namespace medfuse::model
