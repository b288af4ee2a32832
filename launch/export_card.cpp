#include "launch/export_card.h"

#include <fmt/format.h>

namespace medfuse::launch {

namespace {

constexpr const char* kMergedUse = R"(```python
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
encoder = AutoModel.from_pretrained(FOLDER)
embedding = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
```
)";

/// {0}: arguments behind the base's path.
constexpr const char* kAdapterUse = R"(```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
base = AutoModelForCausalLM.from_pretrained(BASE{0})
encoder = PeftModel.from_pretrained(base, FOLDER)
states = encoder(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
embedding = states[-1][0, -1]
```
)";

}  // namespace

std::string export_card(const weights::AdaptedEncoder& encoder, const std::string& run, std::int64_t step,
                        const std::string& unfinished, bool merged) {
  const bool cut = encoder.layers < encoder.base_layers;
  std::string card = fmt::format("# Text encoder of the medfuse run {}\n\n", run);
  card += merged ? "Llama-family encoder of clinical text; what LoRA learned is merged into the weights.\n\n"
                 : "LoRA adapter of a Llama-family encoder of clinical text.\n\n";
  card += fmt::format("- Base model: `{}`\n- Run: {}, step {}\n", encoder.base.string(), run, step);
  if (!unfinished.empty()) card += fmt::format("- From before the end of training: {}\n", unfinished);
  if (cut) card += fmt::format("- Blocks: the first {} of the base's {}\n", encoder.layers, encoder.base_layers);
  if (!encoder.adapters.empty()) {
    card += fmt::format("- LoRA: rank {}, alpha {}, {} projections\n", encoder.rank(), encoder.alpha,
                        encoder.adapters.size());
  } else {
    card += "- LoRA: none, the encoder is the base's\n";
  }
  card += "\nThe embedding of a text is the last hidden state, behind the final norm, of its last token:\n\n";
  const std::string blocks = cut ? fmt::format(", num_hidden_layers={}", encoder.layers) : "";
  card += merged ? std::string(kMergedUse) : fmt::format(fmt::runtime(kAdapterUse), blocks);
  if (cut) {
    card += merged ? "\nThe base's output head was made for the states of its last block, not of this one's.\n"
                   : "\nWithout `num_hidden_layers` the base's other blocks run too: another result.\n";
  }
  if (!merged) {
    card += "\nThe names are those of LlamaForCausalLM. On a bare `AutoModel` of the base, `load_adapter(FOLDER)`\n"
            "finds them too, `PeftModel` does not.\n";
  }
  card += fmt::format("\n{}\n", kExportLacks);
  return card + "\nIt was trained on patients' texts: share it as you would share those. The base's licence applies.\n";
}

}  // namespace medfuse::launch
