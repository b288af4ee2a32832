// The stack of blocks between the token embedding and the final norm.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "src/model/frozen_cache.h"
#include "src/model/llama_block.h"
#include "src/model/llama_rope.h"
#include "src/model/llama_sequence.h"
#include "src/model/options.h"
#include "src/model/weight_store.h"

namespace medfuse::model {

/// Submodules are named as in Hugging Face's LlamaModel: embed_tokens, layers.N, norm.
class LlamaModel : public torch::nn::Module {
 public:
  /// Throws Error(usage) for options that do not fit the model.
  LlamaModel(const TextOptions& options, const weights::LlamaConfig& config, std::uint64_t seed,
             const WeightSource& source, const TensorParallelPtr& ranks = no_tensor_parallel(),
             const WeightStorePtr& store = nullptr);

  /// Lays the rows of tokens_BL end to end, without what is behind each length. Lengths are in [1, L].
  LlamaSequence pack(const at::Tensor& tokens_BL, const std::vector<std::int64_t>& lengths, const ops::DropoutKeys& keys);

  at::Tensor forward(const LlamaSequence& sequence);       ///< final-norm hidden states of all rows, [T, D]
  at::Tensor forward_last(const LlamaSequence& sequence);  ///< of each sample's last row, [B, D]

  void set_recompute(Recompute mode);
  const WeightPasses& passes() const { return passes_; }

  FrozenCache& cache() { return cache_; }
  std::int64_t layers() const { return static_cast<std::int64_t>(blocks_.size()); }

 private:
  /// States [T, D] before block frozen_, from the cache where it is enabled.
  at::Tensor frozen_states(const LlamaSequence& sequence);
  /// States [T, D] before block `end` >= frozen_, or behind the last one.
  at::Tensor learning_states(const LlamaSequence& sequence, std::size_t end);
  /// Result of a block, with its weights there now and on the way back.
  at::Tensor run_block(std::size_t block, const at::Tensor& hidden_ND, const LlamaSequence& sequence, bool last_only = false);
  /// The sequence for blocks whose rows the ranks split, if they do.
  LlamaSequence split(const LlamaSequence& sequence) const;

  std::int64_t vocabulary_;
  TensorParallelPtr ranks_;
  at::Tensor embedding_VD_;
  std::vector<std::shared_ptr<LlamaBlock>> blocks_;
  std::shared_ptr<LlamaNorm> norm_;
  RopeTable rope_;
  WeightPasses passes_;  // unit 0: the embedding; i + 1: block i
  std::size_t frozen_;  // number of blocks below the lowest adapter; the last block never counts
  FrozenCache cache_;
};

}  // namespace medfuse::model
