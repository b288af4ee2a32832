// The header of one safetensors file, parsed and checked field by field. Of LibTorch only the element types.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace medfuse::weights {

class MappedFile;

/// Where one tensor lies.
struct TensorInfo {
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::filesystem::path file;
  std::uint64_t begin = 0;  ///< byte offset in the file
  std::uint64_t bytes = 0;
};

/// Name of an element type in the format ("F32"), or empty where the format or this program has none.
std::string_view safetensors_type_name(c10::ScalarType type);

/// Tensors of one mapped file. Throws Error(data) naming file and tensor unless the header is whole, every shape fits
/// its bytes, and the tensors cover the data exactly: without overlap, gap or anything behind the end.
std::map<std::string, TensorInfo> read_safetensors_header(const MappedFile& file, const std::filesystem::path& path);

}  // namespace medfuse::weights
