// One transformer block of the Llama architecture: grouped-query attention and a gated feed-forward part, both behind
// a root mean square norm, on sequences laid end to end.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/model/llama_sequence.h"
#include "src/model/lora.h"
#include "src/model/recompute.h"
#include "src/weights/hf_config.h"

namespace medfuse::model {

/// A base weight: its full name ("model.layers.0.mlp.up_proj.weight"), the shape of the whole, and which part of it to give
/// (`span` of dimension `dim`; a default one means all).
struct WeightRequest {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t dim = 0;
  Span span;
};
/// Gives what is asked for, contiguous and of the compute type.
using WeightSource = std::function<at::Tensor(const WeightRequest&)>;

/// What building a block needs.
struct LlamaBuild {
  const weights::LlamaConfig& config;
  const LoraOptions& lora;
  std::uint64_t seed;
  const WeightSource& source;
  TensorParallelPtr ranks;
};

/// Frozen weight of a norm, registered as a buffer.
class LlamaNorm : public torch::nn::Module {
 public:
  LlamaNorm(at::Tensor weight_D, double epsilon);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_D_;
  double epsilon_;
};

/// Where rows are split over the ranks (LlamaRows::share), x and the results of forward() below are this rank's rows.
class LlamaAttention : public torch::nn::Module {
 public:
  LlamaAttention(const LlamaBuild& build, std::int64_t layer, bool adapted);
  at::Tensor forward(const at::Tensor& x_TD, const LlamaSequence& sequence);
  /// Output of each sample's last row only, [B, D].
  at::Tensor forward_last(const at::Tensor& x_TD, const LlamaSequence& sequence);

 private:
  std::int64_t heads_;  // of this rank
  std::int64_t key_heads_;
  std::int64_t head_dim_;
  std::shared_ptr<LoraLinear> q_;
  std::shared_ptr<LoraLinear> k_;
  std::shared_ptr<LoraLinear> v_;
  std::shared_ptr<LoraLinear> o_;
};

class LlamaMlp : public torch::nn::Module {
 public:
  LlamaMlp(const LlamaBuild& build, std::int64_t layer, bool adapted);
  at::Tensor forward(const at::Tensor& x_ND, const LlamaRows& rows);

 private:
  std::shared_ptr<LoraLinear> gate_;
  std::shared_ptr<LoraLinear> up_;
  std::shared_ptr<LoraLinear> down_;
};

class LlamaBlock : public torch::nn::Module {
 public:
  LlamaBlock(const LlamaBuild& build, std::int64_t layer, bool adapted);
  at::Tensor forward(const at::Tensor& x_TD, const LlamaSequence& sequence);
  /// Result of each sample's last row only, [B, D]: queries, outputs and the feed-forward part of the others are saved.
  at::Tensor forward_last(const at::Tensor& x_TD, const LlamaSequence& sequence);
  void set_recompute(Recompute mode) { recompute_ = mode; }

 private:
  /// Attention behind its norm, without the residual: [T, D], or [B, D] for the last rows.
  at::Tensor attended(const at::Tensor& x_TD, const LlamaSequence& sequence, bool last_only);

  Recompute recompute_ = Recompute::none;
  std::shared_ptr<LlamaNorm> input_norm_;
  std::shared_ptr<LlamaAttention> attention_;
  std::shared_ptr<LlamaNorm> mlp_norm_;
  std::shared_ptr<LlamaMlp> mlp_;
};

}  // namespace medfuse::model
