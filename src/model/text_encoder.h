// The text view: a pretrained language model of the Llama architecture, frozen, with LoRA adapters that are trained.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>

#include "src/model/options.h"
#include "src/model/recompute.h"
#include "src/model/tensor_parallel.h"
#include "src/model/weight_store.h"
#include "src/ops/dropout.h"
#include "src/weights/hf_config.h"
#include "src/weights/safetensors.h"

namespace medfuse::model {

class LlamaModel;

/// parameters() holds the adapters only; base weights are frozen buffers. Both are named as in Hugging Face and PEFT:
/// model.layers.0.self_attn.q_proj.weight (buffer), model.layers.0.self_attn.q_proj.lora_A.weight (parameter).
class TextEncoder : public torch::nn::Module {
 public:
  /// Random base weights, a function of the seed: for tests and dry runs. Each goes to `device` once it is made, so
  /// that the host never holds more than one. `store` takes the embedding and the blocks into its care, one after the
  /// other as they are made.
  TextEncoder(const TextOptions& options, const weights::LlamaConfig& config, at::ScalarType dtype, std::uint64_t seed,
              const TensorParallelPtr& ranks = no_tensor_parallel(), const WeightStorePtr& store = nullptr,
              at::Device device = at::kCPU);
  /// Base weights from `weights` (names with or without the leading "model."); those of type `dtype` stay in the
  /// mapping, others are converted. Throws Error(data) for a missing tensor or another shape than config.json says,
  /// Error(usage) for options that do not fit the model.
  TextEncoder(const TextOptions& options, const weights::LlamaConfig& config, const weights::Safetensors& weights,
              at::ScalarType dtype, std::uint64_t seed, const TensorParallelPtr& ranks = no_tensor_parallel(),
              const WeightStorePtr& store = nullptr);
  /// Reads the Hugging Face folder options.model. dtype: kFloat, kBFloat16 or kDouble, the type of weights and compute.
  static std::shared_ptr<TextEncoder> load(const TextOptions& options, at::ScalarType dtype, std::uint64_t seed,
                                           const TensorParallelPtr& ranks = no_tensor_parallel(),
                                           const WeightStorePtr& store = nullptr);

  /// Final-norm hidden states of every token, [B, L, D]. tokens_BL: int64. Every row counts as full.
  at::Tensor hidden(const at::Tensor& tokens_BL, const ops::DropoutKeys& keys = {});
  /// Final-norm hidden state of the last real token of each row, [B, D]. lengths_B: int64, each in [1, L]; best on the
  /// CPU, since the host reads it. What stands behind a row's length is never looked at: padding costs nothing.
  /// Throws std::logic_error for shapes or lengths that do not fit, Error(data) for a token outside the vocabulary.
  at::Tensor embed(const at::Tensor& tokens_BL, const at::Tensor& lengths_B, const ops::DropoutKeys& keys = {});

  /// Keeps the states below the lowest adapter, which training never changes, in up to `bytes` of memory (about
  /// D * size of the type for each token of each different text), so that a text seen again starts there. Texts go through
  /// these blocks one at a time from then on: a result depends on the cache being on, to rounding, but never on what it
  /// holds. 0 switches it off, as at first. Without blocks below the lowest adapter it does nothing.
  void cache_frozen_states(std::int64_t bytes);
  std::int64_t cached_bytes() const;

  /// The ranks behind a weight store make the same passes: what one without texts does in place of a forward and of a
  /// backward pass. Nothing without a store.
  void idle_forward() const;
  void idle_backward() const;

  /// What blocks compute again in a backward pass instead of keeping it. At first: nothing. Changes no result.
  void set_recompute(Recompute mode);

  std::int64_t width() const;  ///< D
  const weights::LlamaConfig& config() const { return config_; }
  /// Number of blocks used, <= config().num_hidden_layers.
  std::int64_t layers() const;

 private:
  weights::LlamaConfig config_;
  std::shared_ptr<LlamaModel> model_;
};

}  // namespace medfuse::model
