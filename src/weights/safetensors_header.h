// The header of one safetensors file, parsed and checked field by field. Torch-free but for the element types.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "src/weights/safetensors.h"

namespace medfuse::weights {

class MappedFile;

/// Name of an element type in the format ("F32"), or empty where the format or this program has none.
std::string_view safetensors_type_name(c10::ScalarType type);

/// Tensors of one mapped file. Throws Error(data) naming file and tensor unless the header is whole, every shape fits
/// its bytes, and the tensors cover the data exactly: without overlap, gap or anything behind the end.
std::map<std::string, TensorInfo> read_safetensors_header(const MappedFile& file, const std::filesystem::path& path);

}  // namespace medfuse::weights
