// What tells one set of base weights from another, to the byte.
#pragma once

#include <filesystem>
#include <string>

#include "src/checkpoint/team.h"

namespace medfuse::train {

/// Sizes and checksums of config.json and of every .safetensors file in `model_folder`, as sealed JSON (base/checksum.h): the
/// same on any number of ranks. Each rank reads 1 / team.size of the bytes. Collective. Throws Error(data) on all ranks if a
/// file cannot be read, or ranks find different weights there, as far as samples of each file show.
std::string weights_identity(const std::filesystem::path& model_folder, const checkpoint::Team& team);

}  // namespace medfuse::train
