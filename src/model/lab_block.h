// One pre-norm transformer block over lab tokens.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>

#include "src/model/lab_attention.h"
#include "src/model/recompute.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

/// x + attention(norm(x)), then x + MLP(norm(x)) with GELU and four times the width.
class LabBlock : public torch::nn::Module {
 public:
  /// `layer`: number of the block over encoder and decoder, which tells its dropout masks from others'.
  LabBlock(std::int64_t width, std::int64_t heads, double dropout, std::int64_t layer);

  /// x_BTW -> [B, T, W]; mask_BT as in TokenAttention.
  at::Tensor forward(const at::Tensor& x_BTW, const at::Tensor& mask_BT, const ops::DropoutKeys& keys);
  void set_recompute(Recompute mode) { recompute_ = mode; }

 private:
  /// Attention behind its norm, without dropout and residual.
  at::Tensor attended(const at::Tensor& x_BTW, const at::Tensor& mask_BT);

  Recompute recompute_ = Recompute::none;
  double dropout_;
  std::int64_t layer_;
  torch::nn::LayerNorm attention_norm_{nullptr}, mlp_norm_{nullptr};
  std::shared_ptr<TokenAttention> attention_;
  torch::nn::Linear mlp_in_{nullptr}, mlp_out_{nullptr};
};

}  // namespace medfuse::model
