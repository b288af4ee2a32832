#include "src/checkpoint/dtype.h"

#include <stdexcept>

namespace medfuse::checkpoint {

namespace {

struct Type {
  at::ScalarType type;
  const char* name;
  std::int64_t bytes;
};
constexpr Type kTypes[] = {
    {at::kDouble, "float64", 8}, {at::kFloat, "float32", 4}, {at::kBFloat16, "bfloat16", 2}, {at::kHalf, "float16", 2},
    {at::kLong, "int64", 8},     {at::kInt, "int32", 4},     {at::kShort, "int16", 2},       {at::kChar, "int8", 1},
    {at::kByte, "uint8", 1},     {at::kBool, "bool", 1}};

const Type& known(at::ScalarType dtype) {
  for (const Type& type : kTypes) {
    if (type.type == dtype) return type;
  }
  throw std::logic_error(std::string("checkpoints do not hold tensors of type ") + c10::toString(dtype));
}

}  // namespace

std::string dtype_name(at::ScalarType dtype) { return known(dtype).name; }

std::int64_t dtype_bytes(at::ScalarType dtype) { return known(dtype).bytes; }

std::optional<at::ScalarType> dtype_from_name(const std::string& name) {
  for (const Type& type : kTypes) {
    if (type.name == name) return type.type;
  }
  return std::nullopt;
}

}  // namespace medfuse::checkpoint
