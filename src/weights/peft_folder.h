// The adapters alone, as the Python package peft reads them: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>

#include "src/weights/adapted_encoder.h"

namespace medfuse::weights {

/// Writes both files and what copy_companions() copies. Tensors are of `dtype` and named as for a LlamaForCausalLM
/// ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"), task type CAUSAL_LM. There must be adapters.
/// Throws Error(data) naming the path.
void write_adapter(const AdaptedEncoder& encoder, const std::filesystem::path& folder, at::ScalarType dtype);

}  // namespace medfuse::weights
