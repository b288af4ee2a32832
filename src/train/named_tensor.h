// A tensor of the training state as one rank holds it: a parameter, or what the optimiser keeps of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "src/checkpoint/tensors.h"
#include "src/model/tensor_parallel.h"
#include "src/parallel/element_range.h"

namespace medfuse::train {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  std::optional<model::ParameterPart> part = {};  ///< which part of the whole, where that is split over ranks
};

/// The same as checkpoints see it: a block of the whole.
checkpoint::ShardedTensor block_of(const NamedTensor& tensor);

/// The blocks that make up `part` of `tensor`, or of what an optimiser keeps in the shape of it. Only the tensor's shape
/// is looked at: it may be without content.
std::vector<checkpoint::ShardedTensor> blocks_of(const NamedTensor& tensor, const parallel::OwnedPart& part);

}  // namespace medfuse::train
