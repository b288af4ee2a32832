// What a checkpoint says of a tensor. LibTorch's element types, and nothing else of it.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace medfuse::checkpoint {

struct TensorInfo {
  std::string name;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
};

}  // namespace medfuse::checkpoint
