// Low-rank adaptation (Hu et al., arXiv 2106.09685) of frozen linear layers, and where it is put.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "src/model/options.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

/// Numbers of the blocks that `layers` ("all", "last:N", "0-3,28") names among `count`, sorted.
/// Throws Error(usage) naming text.lora_layers.
std::vector<std::int64_t> parse_lora_layers(const std::string& layers, std::int64_t count);

/// Throws Error(usage) naming text.lora_targets unless every name is a projection of a Llama block, named once.
void check_lora_targets(const std::vector<std::string>& targets);

/// y = W x + (alpha / rank) B A dropout(x), without biases; W is frozen and a buffer, so that parameters() holds A and B
/// only. Registered as weight, lora_A.weight [R, I], lora_B.weight [O, R], the names of PEFT. A and B are kept in
/// float32 (float64 beside a float64 W) and cast to x's type at use.
class LoraLinear : public torch::nn::Module {
 public:
  /// Without an adapter.
  explicit LoraLinear(at::Tensor weight_OI);
  /// `name`: the full parameter prefix, e.g. "model.layers.0.self_attn.q_proj": A depends on it and on `seed`; B is 0.
  LoraLinear(at::Tensor weight_OI, const LoraOptions& lora, std::uint64_t seed, const std::string& name,
             std::int64_t layer, ops::Site site);

  /// x: [..., I], dropout keys as for ops::dropout. Result [..., O].
  at::Tensor forward(const at::Tensor& x, const ops::DropoutKeys& keys);

  bool adapted() const { return lora_A_.defined(); }
  const at::Tensor& weight() const { return weight_; }
  /// W + (alpha / rank) B A, in the type of W; W itself where there is no adapter.
  at::Tensor merged() const;

 private:
  at::Tensor weight_;
  at::Tensor lora_A_;
  at::Tensor lora_B_;
  double scale_ = 0;
  double dropout_ = 0;
  std::int64_t layer_ = 0;
  ops::Site site_ = ops::Site::query;
};

}  // namespace medfuse::model
