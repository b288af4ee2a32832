// Which base weights a run was trained with, to the byte: identity.json of its folder.
#pragma once

#include <filesystem>
#include <string>

#include "src/checkpoint/team.h"

namespace medfuse::train {

/// Sizes and checksums of config.json and of every .safetensors file in `model_folder`, as sealed JSON (base/checksum.h): the
/// same on any number of ranks. Each rank reads 1 / team.size of the bytes. Collective. Throws Error(data) on all ranks if a
/// file cannot be read, or ranks find different weights there, as far as samples of each file show.
std::string weights_identity(const std::filesystem::path& model_folder, const checkpoint::Team& team);

/// Whether the run in this folder was trained with the weights of this identity. Throws Error(data) if what it kept of them is
/// damaged.
bool trained_with(const std::filesystem::path& run, const std::string& identity);

}  // namespace medfuse::train
