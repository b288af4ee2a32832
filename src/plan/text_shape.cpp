#include "src/plan/text_shape.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "src/model/lora.h"

namespace medfuse::plan {

std::int64_t published_parameters(const weights::LlamaConfig& c) {
  const std::int64_t queries = c.num_attention_heads * c.head_dim;
  const std::int64_t keys = c.num_key_value_heads * c.head_dim;
  const std::int64_t block = c.hidden_size * (2 * queries + 2 * keys + 3 * c.intermediate_size + 2);
  const std::int64_t matrices = c.tie_word_embeddings ? 1 : 2;
  return matrices * c.vocab_size * c.hidden_size + c.num_hidden_layers * block + c.hidden_size;
}

std::int64_t TextShape::block() const {
  return 2 * width * queries() + 2 * width * keys() + 3 * width * inner + 2 * width;
}

std::vector<std::int64_t> TextShape::adapters_of(std::int64_t block) const {
  std::vector<std::int64_t> factors;
  for (const Projection& p : projections[static_cast<std::size_t>(block)]) {
    if (p.adapted) factors.insert(factors.end(), {adapter_A(p), adapter_B(p)});
  }
  return factors;
}

std::int64_t TextShape::adapters() const {
  std::int64_t sum = 0;
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (const std::int64_t elements : adapters_of(block)) sum += elements;
  }
  return sum;
}

TextShape text_shape(const Job& job) {
  const weights::LlamaConfig& c = job.llama;
  const model::TextOptions& text = job.options.text;
  const model::TensorParallel ranks{.rank = 0, .size = static_cast<int>(job.options.parallel.tensor)};
  if (text.layers < 0 || text.layers > c.num_hidden_layers) {
    usage_error("text.layers: {} must lie between 0 (all) and the {} blocks of the model", text.layers, c.num_hidden_layers);
  }
  TextShape shape;
  shape.width = c.hidden_size;
  shape.heads = model::equal_share(c.num_attention_heads, ranks).length;
  shape.key_heads = model::head_share(c.num_key_value_heads, ranks).length;
  shape.head_dim = c.head_dim;
  shape.inner = model::equal_share(c.intermediate_size, ranks).length;
  shape.vocabulary = c.vocab_size;
  shape.blocks = text.layers == 0 ? c.num_hidden_layers : text.layers;
  shape.lora_rank = text.lora.rank;

  model::check_lora_targets(text.lora.targets);
  std::vector<std::int64_t> adapted;
  if (text.lora.rank > 0) adapted = model::parse_lora_layers(text.lora.layers, shape.blocks);
  shape.learns = !adapted.empty() && !text.lora.targets.empty();
  shape.frozen = adapted.empty() ? shape.blocks - 1 : std::min(adapted.front(), shape.blocks - 1);

  const int copies = static_cast<int>(ranks.size * shape.key_heads / c.num_key_value_heads);
  const std::int64_t whole_keys = c.num_key_value_heads * c.head_dim;
  using model::Split;
  const std::array<Projection, 7> plain = {{
      {shape.width, shape.queries(), Split::column, c.num_attention_heads * c.head_dim},
      {shape.width, shape.keys(), Split::column, whole_keys, copies},
      {shape.width, shape.keys(), Split::column, whole_keys, copies},
      {shape.queries(), shape.width, Split::row, shape.width},
      {shape.width, shape.inner, Split::column, c.intermediate_size},
      {shape.width, shape.inner, Split::column, c.intermediate_size},
      {shape.inner, shape.width, Split::row, shape.width},
  }};
  const std::array<std::string, 7> names = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  for (std::int64_t block = 0; block < shape.blocks; ++block) {
    std::vector<Projection> all(plain.begin(), plain.end());
    if (std::binary_search(adapted.begin(), adapted.end(), block)) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        const auto& targets = text.lora.targets;
        all[i].adapted = std::find(targets.begin(), targets.end(), names[i]) != targets.end();
      }
    }
    shape.projections.push_back(std::move(all));
  }
  return shape;
}

}  // namespace medfuse::plan
