#include "src/weights/hf_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace medfuse::weights {

namespace {

using nlohmann::json;

// The most that a file may ask for: several times what the largest published models have, and so little that no product
// of sizes overflows and whatever goes through all blocks ends soon.
constexpr std::int64_t most_words = 1 << 24;
constexpr std::int64_t most_width = 1 << 18;
constexpr std::int64_t most_inner_width = 1 << 20;
constexpr std::int64_t most_blocks = 512;
constexpr std::int64_t most_heads = 1 << 12;
constexpr std::int64_t most_head_width = 1 << 12;
constexpr std::int64_t most_positions = INT32_MAX;

/// Reads keys of one JSON object; errors name the file and the key.
class Keys {
 public:
  Keys(const json& object, std::string file, std::string prefix = "")
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  /// Null counts as absent, as in transformers.
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::int64_t size(const char* key, std::int64_t most) const {
    const json* const value = need(key);
    if (!value->is_number_integer() || *value < 1 || *value > most) {
      const std::string found = value->is_number() ? value->dump() : std::string("a ") + value->type_name();
      fail(key, fmt::format("is {}, but must be a whole number from 1 to {}", found, most));
    }
    return value->get<std::int64_t>();
  }
  std::int64_t size(const char* key, std::int64_t most, std::int64_t otherwise) const {
    return find(key) ? size(key, most) : otherwise;
  }

  double real(const char* key) const {
    const json* const value = need(key);
    if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0) {
      fail(key, "must be a positive number");
    }
    return value->get<double>();
  }
  double real(const char* key, double otherwise) const { return find(key) ? real(key) : otherwise; }

  bool flag(const char* key) const {
    const json* const value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(key, "must be true or false");
    return value->get<bool>();
  }

  std::string text(const char* key, const char* otherwise) const {
    const json* const value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) fail(key, "must be a string");
    return value->get<std::string>();
  }

  const json* object(const char* key) const {
    const json* const value = find(key);
    if (value != nullptr && !value->is_object()) fail(key, "must be an object");
    return value;
  }

  [[noreturn]] void fail(const char* key, const std::string& what) const {
    data_error("{}: key '{}{}' {}; use a model of the Llama architecture", file_, prefix_, key, what);
  }

 private:
  const json* need(const char* key) const {
    const json* const value = find(key);
    if (value == nullptr) fail(key, "is missing");
    return value;
  }

  const json& object_;
  std::string file_;
  std::string prefix_;
};

void read_rope_type(LlamaConfig& config, const Keys& keys) {
  // Older files say "type" for "rope_type".
  const char* const name = keys.find("rope_type") ? "rope_type" : "type";
  const std::string type = keys.text(name, "default");
  if (type == "linear") {
    config.rope_linear_factor = keys.real("factor");
  } else if (type == "llama3") {
    Llama3RopeScaling scaling;
    scaling.factor = keys.real("factor");
    scaling.low_freq_factor = keys.real("low_freq_factor");
    scaling.high_freq_factor = keys.real("high_freq_factor");
    scaling.original_max_position_embeddings = keys.size("original_max_position_embeddings", most_positions);
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      keys.fail("high_freq_factor", "must be greater than low_freq_factor");
    }
    config.rope_scaling = scaling;
  } else if (type != "default") {
    keys.fail(name, "is '" + type + "', but only default, linear and llama3 are supported");
  }
}

void refuse_unsupported(const Keys& keys) {
  const std::string type = keys.text("model_type", "");
  if (type != "llama") keys.fail("model_type", "is '" + type + "', but must be llama");
  const std::string activation = keys.text("hidden_act", "silu");
  if (activation != "silu") keys.fail("hidden_act", "is '" + activation + "', but must be silu");
  for (const char* key : {"attention_bias", "mlp_bias", "rope_interleaved"}) {
    if (keys.flag(key)) keys.fail(key, "is true, which is not supported");
  }
  if (keys.find("quantization_config")) keys.fail("quantization_config", "is set, but weights must not be quantized");
  if (keys.real("partial_rotary_factor", 1) != 1) keys.fail("partial_rotary_factor", "must be 1");
}

}  // namespace

LlamaConfig read_llama_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  if (!std::filesystem::exists(path)) {
    data_error("{}: is missing; name a Hugging Face folder with config.json and safetensors weights", path.string());
  }
  const json root = parse_json(read_file(path));
  if (!root.is_object()) data_error("{}: is not a JSON object; download it again", path.string());
  const Keys keys(root, path.string());
  refuse_unsupported(keys);

  LlamaConfig config;
  config.vocab_size = keys.size("vocab_size", most_words);
  config.hidden_size = keys.size("hidden_size", most_width);
  config.intermediate_size = keys.size("intermediate_size", most_inner_width);
  config.num_hidden_layers = keys.size("num_hidden_layers", most_blocks);
  config.num_attention_heads = keys.size("num_attention_heads", most_heads);
  config.num_key_value_heads = keys.size("num_key_value_heads", most_heads, config.num_attention_heads);
  config.max_position_embeddings = keys.size("max_position_embeddings", most_positions, 2048);
  config.rms_norm_eps = keys.real("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings");
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    keys.fail("num_key_value_heads", "must divide num_attention_heads");
  }
  if (!keys.find("head_dim") && config.hidden_size % config.num_attention_heads != 0) {
    keys.fail("num_attention_heads", "must divide hidden_size where head_dim is not given");
  }
  config.head_dim = keys.size("head_dim", most_head_width, config.hidden_size / config.num_attention_heads);
  if (config.head_dim % 2 != 0) keys.fail("head_dim", "must be even");

  config.rope_theta = keys.real("rope_theta", 10000);
  if (const json* const parameters = keys.object("rope_parameters")) {
    const Keys rope(*parameters, path.string(), "rope_parameters.");
    config.rope_theta = rope.real("rope_theta", config.rope_theta);
    if (rope.real("partial_rotary_factor", 1) != 1) rope.fail("partial_rotary_factor", "must be 1");
    read_rope_type(config, rope);
  } else if (const json* const scaling = keys.object("rope_scaling")) {
    read_rope_type(config, Keys(*scaling, path.string(), "rope_scaling."));
  }
  return config;
}

}  // namespace medfuse::weights
