// A Llama encoder as training leaves it: the base's folder, how many of its blocks are used, and what was learned.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace medfuse::weights {

/// Low-rank update of one projection: W x + scale B A x, with A [R, I] and B [O, R].
struct LoraFactors {
  at::Tensor A;
  at::Tensor B;
};

struct AdaptedEncoder {
  std::filesystem::path base;   ///< Hugging Face folder
  std::int64_t base_layers = 0; ///< blocks of the base
  std::int64_t layers = 0;      ///< the first so many of them are used
  double alpha = 0;             ///< updates are scaled by alpha / rank
  double dropout = 0;           ///< in front of the adapters while they were trained
  /// By the projection's name in LlamaForCausalLM, "model.layers.0.self_attn.q_proj". All of one rank; empty: none.
  std::map<std::string, LoraFactors> adapters;

  std::int64_t rank() const { return adapters.empty() ? 0 : adapters.begin()->second.A.size(0); }
};

/// Number of the block that a tensor or module belongs to ("model.layers.7.mlp.up_proj", "layers.7..."), if to any.
std::optional<std::int64_t> block_of(const std::string& name);

/// Copies into `folder`, from the base, what a user of its weights needs beside them, where it is there: tokenizer,
/// licence, and with `generation` generation_config.json. Throws Error(data) naming the path.
void copy_companions(const AdaptedEncoder& encoder, const std::filesystem::path& folder, bool generation);

}  // namespace medfuse::weights
