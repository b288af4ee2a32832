// Who writes what: every block of every tensor once, spread evenly over the ranks that hold it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/checkpoint/box.h"
#include "src/checkpoint/tensor_info.h"

namespace medfuse::checkpoint {

/// What a rank has told the others about one of its blocks.
struct HeldBlock {
  TensorInfo tensor;
  Box box;
};

/// Rows [begin, end) of this rank's block number `block`; of a scalar the one row [0, 1).
struct Assignment {
  std::size_t block = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

struct Plan {
  std::vector<TensorInfo> tensors;                   ///< all, sorted by name
  std::vector<std::vector<Assignment>> assignments;  ///< of each rank, by block
};

/// A function of its argument only, so that all ranks come to the same plan. Throws std::logic_error if a tensor's type
/// or shape differs between blocks, its blocks do not tile it, or a name is unfit.
Plan make_plan(const std::vector<std::vector<HeldBlock>>& held);

std::string to_text(const std::vector<HeldBlock>& blocks);
std::vector<HeldBlock> blocks_from_text(const std::string& text);

}  // namespace medfuse::checkpoint
