// Where a run stands: in which of its stages, and how many of that stage's steps are done.
#pragma once

#include <cstddef>
#include <cstdint>

namespace medfuse::train {

struct Position {
  std::size_t stage = 0;  ///< index into the run's stages; their number: all are done
  std::int64_t step = 0;  ///< steps of the stage done; 0: it has not begun
};

}  // namespace medfuse::train
