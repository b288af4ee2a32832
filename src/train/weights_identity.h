// What tells one set of base weights from another, to the byte.
#pragma once

#include <filesystem>
#include <string>

#include "src/checkpoint/team.h"

namespace medfuse::train {

/// Sizes and checksums of config.json and of every .safetensors file in `model_folder`, as sealed JSON (base/checksum.h): the
/// same on any number of ranks. The ranks of a node, `host`, divide its bytes among them; each node reads all of its own, which
/// may be a copy on a disk of its own. Collective. Throws Error(data) on all ranks if a file cannot be read, or ranks find
/// different weights there.
std::string weights_identity(const std::filesystem::path& model_folder, const checkpoint::Team& team, const std::string& host);

}  // namespace medfuse::train
