// The element types a checkpoint can hold, and their names in the manifest.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace medfuse::checkpoint {

/// "float32", "bfloat16", ...; throws std::logic_error for a type that checkpoints do not hold.
std::string dtype_name(at::ScalarType dtype);
/// Size of an element; throws as dtype_name() does.
std::int64_t dtype_bytes(at::ScalarType dtype);
std::optional<at::ScalarType> dtype_from_name(const std::string& name);

}  // namespace medfuse::checkpoint
