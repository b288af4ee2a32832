// A tensor of the training state: as a whole, and the block of it that a rank holds.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "src/checkpoint/tensor_info.h"

namespace medfuse::checkpoint {

/// `local` is the block [offset, offset + local.sizes()) of a tensor of shape `global_shape`. Over all ranks the blocks
/// of one name tile the tensor; ranks that hold the very same block are replicas, and it is written once. A name is
/// UTF-8 without NUL and '@'; '/' in it makes groups in the HDF5 file, so no name may be a folder of another.
struct ShardedTensor {
  std::string name;
  at::Tensor local;
  std::vector<std::int64_t> global_shape;
  std::vector<std::int64_t> offset;
};

/// A tensor that every rank (or this one alone) holds as a whole.
ShardedTensor replicated(std::string name, const at::Tensor& tensor);

/// The block of a tensor cut along one dimension: rows [begin, begin + local.size(dimension)) of `total`.
ShardedTensor sharded(std::string name, const at::Tensor& local, std::int64_t dimension, std::int64_t begin,
                      std::int64_t total);

}  // namespace medfuse::checkpoint
