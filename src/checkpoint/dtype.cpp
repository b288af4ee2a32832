#include "src/checkpoint/dtype.h"

#include <stdexcept>
#include <utility>

namespace medfuse::checkpoint {

namespace {
constexpr std::pair<at::ScalarType, const char*> kTypes[] = {
    {at::kDouble, "float64"}, {at::kFloat, "float32"}, {at::kBFloat16, "bfloat16"}, {at::kHalf, "float16"},
    {at::kLong, "int64"},     {at::kInt, "int32"},     {at::kShort, "int16"},       {at::kChar, "int8"},
    {at::kByte, "uint8"},     {at::kBool, "bool"}};
}

std::string dtype_name(at::ScalarType dtype) {
  for (const auto& [type, name] : kTypes) {
    if (type == dtype) return name;
  }
  throw std::logic_error(std::string("checkpoints do not hold tensors of type ") + c10::toString(dtype));
}

std::optional<at::ScalarType> dtype_from_name(const std::string& name) {
  for (const auto& [type, type_name] : kTypes) {
    if (type_name == name) return type;
  }
  return std::nullopt;
}

}  // namespace medfuse::checkpoint
