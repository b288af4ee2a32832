#include "src/weights/merged_folder.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "src/weights/safetensors.h"
#include "src/weights/safetensors_writer.h"

namespace medfuse::weights {

namespace {

namespace fs = std::filesystem;

void check_shapes(const TensorInfo& weight, const std::string& name, const LoraFactors& lora) {
  const std::vector<std::int64_t> shape = {lora.B.size(0), lora.A.size(1)};
  if (weight.shape != shape) {
    data_error("{}: tensor '{}' has shape [{}], but the run's adapter fits [{}]; it was trained on other weights",
               weight.file.string(), name, fmt::join(weight.shape, ", "), fmt::join(shape, ", "));
  }
}

at::Tensor merge(const at::Tensor& weight, const LoraFactors& lora, double scale) {
  const at::ScalarType type = c10::promoteTypes(weight.scalar_type(), lora.A.scalar_type());
  return at::addmm(weight.to(type), lora.B.to(type), lora.A.to(type), 1, scale);
}

std::vector<TensorToWrite> merged_tensors(const Safetensors& base, const AdaptedEncoder& encoder,
                                          std::optional<at::ScalarType> dtype) {
  // LlamaForCausalLM writes "model.norm.weight", a bare LlamaModel "norm.weight"; names stay as they are in the base.
  const bool bare = !base.contains("model.embed_tokens.weight") && base.contains("embed_tokens.weight");
  std::map<std::string, const LoraFactors*> adapter_of;
  for (const auto& [projection, lora] : encoder.adapters) {
    const std::string name = (bare ? projection.substr(projection.find('.') + 1) : projection) + ".weight";
    check_shapes(base.info(name), name, lora);
    adapter_of[name] = &lora;
  }
  std::vector<TensorToWrite> tensors;
  for (const std::string& name : base.names()) {
    if (block_of(name).value_or(0) >= encoder.layers) continue;
    const TensorInfo& info = base.info(name);
    TensorToWrite tensor{name, info.dtype, info.shape, [&base, name] { return base.tensor(name); }};
    if (dtype && c10::isFloatingType(info.dtype)) tensor.dtype = *dtype;
    const auto adapter = adapter_of.find(name);
    if (adapter != adapter_of.end()) {
      const double scale = encoder.alpha / static_cast<double>(encoder.rank());
      tensor.values = [&base, name, lora = adapter->second, scale] { return merge(base.tensor(name), *lora, scale); };
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// The base's config.json with what the export changes.
std::string merged_config(const AdaptedEncoder& encoder, std::optional<at::ScalarType> dtype) {
  auto config = nlohmann::ordered_json::parse(read_file(encoder.base / "config.json"), nullptr, false);
  if (!config.is_object()) data_error("{}: is not a JSON object", (encoder.base / "config.json").string());
  config["num_hidden_layers"] = encoder.layers;
  if (config.contains("layer_types") && config["layer_types"].is_array()) {  // one entry a block
    auto& types = config["layer_types"];
    while (std::ssize(types) > encoder.layers) types.erase(types.size() - 1);
  }
  if (dtype) {
    const char* const word = *dtype == at::kBFloat16 ? "bfloat16" : *dtype == at::kHalf ? "float16" : "float32";
    // transformers 5 says "dtype", and still reads the older name.
    config[config.contains("dtype") ? "dtype" : "torch_dtype"] = word;
    if (config.contains("torch_dtype")) config["torch_dtype"] = word;
  }
  return config.dump(2) + "\n";
}

}  // namespace

std::vector<std::string> write_merged(const AdaptedEncoder& encoder, const fs::path& folder,
                                      std::optional<at::ScalarType> dtype, std::uint64_t shard_bytes) {
  const Safetensors base = Safetensors::open(encoder.base);
  write_file_atomically(folder / "config.json", merged_config(encoder, dtype));
  copy_companions(encoder, folder, true);
  return write_model_files(folder, merged_tensors(base, encoder, dtype), shard_bytes);
}

}  // namespace medfuse::weights
