// Host tensors as pieces of a snapshot.
#pragma once

#include "src/checkpoint/snapshot.h"
#include "src/checkpoint/tensors.h"

namespace medfuse::checkpoint {

/// `block.local` is contiguous and on the host; the piece shares its memory.
Piece piece_of(const ShardedTensor& block);

}  // namespace medfuse::checkpoint
