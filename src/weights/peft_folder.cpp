#include "src/weights/peft_folder.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>

#include "base/files.h"
#include "src/weights/safetensors_writer.h"

namespace medfuse::weights {

namespace {

namespace fs = std::filesystem;

/// A whole number where it is one: some readers of the file know alpha as an integer only.
nlohmann::ordered_json number(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  if (static_cast<double>(whole) == value) return whole;
  return value;
}

std::string adapter_config(const AdaptedEncoder& encoder) {
  std::set<std::string> targets;
  std::set<std::int64_t> blocks;
  for (const auto& [projection, lora] : encoder.adapters) {
    targets.insert(projection.substr(projection.rfind('.') + 1));
    blocks.insert(block_of(projection).value());
  }
  // Said only where blocks of the base have no adapter: without it peft would put one on each.
  const bool some = std::ssize(blocks) < encoder.base_layers;
  const nlohmann::ordered_json config = {
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", encoder.base.string()},
      {"revision", nullptr},
      {"inference_mode", true},
      {"r", encoder.rank()},
      {"lora_alpha", number(encoder.alpha)},
      {"lora_dropout", encoder.dropout},
      {"target_modules", targets},
      {"layers_to_transform", some ? nlohmann::ordered_json(blocks) : nlohmann::ordered_json()},
      {"layers_pattern", some ? nlohmann::ordered_json("layers") : nlohmann::ordered_json()},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"init_lora_weights", true},
      {"modules_to_save", nullptr}};
  // The path need not be UTF-8.
  return config.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

void write_adapter(const AdaptedEncoder& encoder, const fs::path& folder, at::ScalarType dtype) {
  if (encoder.adapters.empty()) throw std::logic_error("write_adapter: there is no adapter");
  write_file_atomically(folder / "adapter_config.json", adapter_config(encoder));
  copy_companions(encoder, folder, false);
  std::vector<TensorToWrite> tensors;
  for (const auto& [projection, lora] : encoder.adapters) {
    const auto add = [&](const char* factor, const at::Tensor& values) {
      tensors.push_back({fmt::format("base_model.model.{}.{}.weight", projection, factor), dtype, values.sizes().vec(),
                         [values] { return values; }});
    };
    add("lora_A", lora.A);
    add("lora_B", lora.B);
  }
  stream_safetensors(folder / "adapter_model.safetensors", std::move(tensors));
}

}  // namespace medfuse::weights
