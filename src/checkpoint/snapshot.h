// The training state as it was at one step, in memory of its own: what is written while training goes on. Free of LibTorch,
// which writer.h fills it from.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "src/checkpoint/box.h"
#include "src/checkpoint/tensor_info.h"

namespace medfuse::checkpoint {

/// A block that this rank writes: row-major, on the host.
struct Piece {
  TensorInfo tensor;
  Box box;
  std::shared_ptr<void> data;
};

struct Snapshot {
  std::int64_t step = 0;
  nlohmann::json extra;             ///< of rank 0: what else a resumed run must know
  std::vector<TensorInfo> tensors;  ///< all there are, over all ranks, sorted by name
  std::vector<Piece> pieces;        ///< of this rank
};

}  // namespace medfuse::checkpoint
