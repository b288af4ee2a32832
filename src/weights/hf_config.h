// config.json of a Hugging Face folder that holds a model of the Llama architecture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace medfuse::weights {

/// Stretching of rotary frequencies as Llama 3.1 does it: wavelengths beyond original_max_position / low_freq_factor
/// are stretched by `factor`, those below original_max_position / high_freq_factor are kept, between them blended.
struct Llama3RopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;
};

struct LlamaConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  double rope_linear_factor = 1;  ///< rope type "linear": positions are divided by it
  std::optional<Llama3RopeScaling> rope_scaling;
  bool tie_word_embeddings = false;
};

/// Reads and checks config.json. Takes `rope_parameters` (transformers 5) as well as `rope_theta` + `rope_scaling`.
/// Throws Error(data) naming file and key for a missing or ill-typed key, for a size that no model has, and for what is not
/// supported: another model_type than llama, biases, another activation than silu, another rope type than default, linear
/// or llama3.
LlamaConfig read_llama_config(const std::filesystem::path& folder);

}  // namespace medfuse::weights
