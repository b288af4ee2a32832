// Sizes of the text encoder: of the whole one, and of the part that a rank of a tensor group holds.
#pragma once

#include <cstdint>
#include <vector>

#include "src/model/tensor_parallel.h"
#include "src/plan/job.h"
#include "src/weights/hf_config.h"

namespace medfuse::plan {

/// Parameters of a causal language model as its authors count them: embedding, blocks, norms, and the output head unless
/// it is the embedding.
std::int64_t published_parameters(const weights::LlamaConfig& config);

/// A projection as it lies on this rank.
struct Projection {
  std::int64_t in = 0;
  std::int64_t out = 0;
  model::Split split = model::Split::none;
  std::int64_t whole_out = 0;  ///< of all ranks together
  int copies = 1;              ///< ranks that hold this very share
  bool adapted = false;
};

struct TextShape {
  std::int64_t width = 0;       ///< D
  std::int64_t heads = 0;       ///< of this rank
  std::int64_t key_heads = 0;   ///< of this rank
  std::int64_t head_dim = 0;
  std::int64_t inner = 0;       ///< of this rank
  std::int64_t vocabulary = 0;
  std::int64_t blocks = 0;
  std::int64_t frozen = 0;      ///< blocks below the lowest adapter; the last one never counts
  std::int64_t lora_rank = 0;
  bool learns = false;          ///< there is an adapter somewhere
  std::vector<std::vector<Projection>> projections;  ///< of each block: query, key, value, output, gate, up, down

  std::int64_t queries() const { return heads * head_dim; }
  std::int64_t keys() const { return key_heads * head_dim; }
  std::int64_t embedding() const { return vocabulary * width; }
  /// Elements of a block's frozen weights, norms included.
  std::int64_t block() const;
  std::int64_t adapter_A(const Projection& p) const { return p.adapted ? lora_rank * p.in : 0; }
  std::int64_t adapter_B(const Projection& p) const { return p.adapted ? lora_rank * p.out : 0; }
  /// Elements of each adapter factor of a block, in the order of the forward pass.
  std::vector<std::int64_t> adapters_of(std::int64_t block) const;
  /// Elements of all adapters.
  std::int64_t adapters() const;
};

/// Throws Error(usage) for text options that do not fit the model, as building it would.
TextShape text_shape(const Job& job);

}  // namespace medfuse::plan
