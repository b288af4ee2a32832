#include "src/weights/safetensors_index.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace medfuse::weights {

std::map<std::string, std::string> read_safetensors_index(const std::filesystem::path& path) {
  const nlohmann::json json = parse_json(read_file(path));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    data_error("{}: has no 'weight_map' object; download the model's folder again", path.string());
  }
  std::map<std::string, std::string> file_of;
  for (const auto& [name, file] : json["weight_map"].items()) {
    const std::string file_name = file.is_string() ? file.get<std::string>() : "";
    // A name with folders in it could point anywhere on the machine.
    if (file_name.empty() || file_name == ".." || file_name != std::filesystem::path(file_name).filename().string()) {
      data_error("{}: key 'weight_map': tensor '{}' names no file of this folder; download the folder again",
                 path.string(), name);
    }
    file_of.emplace(name, file_name);
  }
  return file_of;
}

}  // namespace medfuse::weights
