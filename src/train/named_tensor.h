// A tensor of the training state as one rank holds it: a parameter, or what the optimiser keeps of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "src/checkpoint/tensors.h"
#include "src/model/tensor_parallel.h"

namespace medfuse::train {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  std::optional<model::ParameterPart> part = {};  ///< which part of the whole, where that is split over ranks
};

/// The same under another name, as checkpoints see it: a block of the whole.
checkpoint::ShardedTensor block_of(const std::string& name, const NamedTensor& tensor);

}  // namespace medfuse::train
