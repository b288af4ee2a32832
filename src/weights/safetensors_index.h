// model.safetensors.index.json: which file of a folder holds which tensor.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace medfuse::weights {

/// File name of each tensor; all lie in the folder of the index. Throws Error(data) naming the path and the tensor.
std::map<std::string, std::string> read_safetensors_index(const std::filesystem::path& path);

}  // namespace medfuse::weights
