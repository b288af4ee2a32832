// The text encoder as a Hugging Face folder of its own: the base with the adapters merged into its projections.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/weights/adapted_encoder.h"

namespace medfuse::weights {

/// Writes config.json, the weights and what copy_companions() copies. Adapted projections are W + (alpha / rank) B A,
/// computed in the wider of their types; every other tensor of the base is copied, an output head too, but those of
/// blocks that are not used are left out. Tensors are of `dtype`, or each of the type that it has in the base. No more
/// than one tensor is in memory. Returns the names of the weight files. Throws Error(data) naming file and tensor where
/// an adapter does not fit.
std::vector<std::string> write_merged(const AdaptedEncoder& encoder, const std::filesystem::path& folder,
                                      std::optional<at::ScalarType> dtype, std::uint64_t shard_bytes);

}  // namespace medfuse::weights
