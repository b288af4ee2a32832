// What saving a checkpoint came to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace medfuse::checkpoint {

struct SaveReport {
  std::filesystem::path path;                  ///< the finished checkpoint
  std::int64_t bytes = 0;                      ///< of tensor data, over all ranks
  double seconds = 0;                          ///< of the slowest rank's writing, and of completing it
  std::vector<std::filesystem::path> removed;  ///< older checkpoints not to be kept, and steps later than this one
  std::string warning;                         ///< why an old one could not be deleted; usually empty
};

}  // namespace medfuse::checkpoint
