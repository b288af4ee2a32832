#include "src/checkpoint/pieces.h"

#include <ATen/ATen.h>

namespace medfuse::checkpoint {

Piece piece_of(const ShardedTensor& block) {
  const std::shared_ptr<void> data(block.local.data_ptr(), [keep = block.local](void*) {});
  return {{block.name, block.local.scalar_type(), block.global_shape}, {block.offset, block.local.sizes().vec()}, data};
}

}  // namespace medfuse::checkpoint
