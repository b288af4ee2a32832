#include "src/checkpoint/tensors.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <utility>

namespace medfuse::checkpoint {

ShardedTensor replicated(std::string name, const at::Tensor& tensor) {
  const auto shape = tensor.sizes().vec();
  return {std::move(name), tensor, shape, std::vector<std::int64_t>(shape.size(), 0)};
}

ShardedTensor sharded(std::string name, const at::Tensor& local, std::int64_t dimension, std::int64_t begin,
                      std::int64_t total) {
  if (dimension < 0 || dimension >= local.dim()) throw std::logic_error("sharded: " + name + " has no such dimension");
  ShardedTensor tensor = replicated(std::move(name), local);
  tensor.global_shape[static_cast<std::size_t>(dimension)] = total;
  tensor.offset[static_cast<std::size_t>(dimension)] = begin;
  return tensor;
}

}  // namespace medfuse::checkpoint
