// config.json of a Hugging Face folder.
#include "src/weights/hf_config.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  fuzz::write_input("config.json", fuzz::text_of(data, size));
  fuzz::allow_refusal([] {
    const auto config = weights::read_llama_config(fuzz::folder().path());
    for (const auto n : {config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers,
                         config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.max_position_embeddings}) {
      fuzz::require(n > 0, "sizes are positive");
    }
    fuzz::require(config.head_dim % 2 == 0, "head_dim is even");
  });
  return 0;
}
