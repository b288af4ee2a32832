// Where a run stands: in which of its stages, and how many of that stage's steps are done.
#pragma once

#include <cstddef>
#include <cstdint>

namespace medfuse::train {

struct Position {
  std::size_t stage = 0;  ///< index into the run's stages; their number: all are done
  std::int64_t step = 0;  ///< steps of the stage done; 0: it has not begun
  std::int64_t good = 0;  ///< those of them that were finite
  std::int64_t bad = 0;   ///< steps in a row, up to here, that were not: they were passed over
  bool unscored = false;  ///< a score was due here, and left off for a stop
};

}  // namespace medfuse::train
