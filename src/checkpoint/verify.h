// What `medfuse checkpoint list` and `medfuse checkpoint verify` show.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace medfuse::checkpoint {

struct CheckpointInfo {
  std::filesystem::path path;
  std::int64_t step = 0;
  std::int64_t tensors = 0;
  std::int64_t files = 0;
  std::int64_t bytes = 0;  ///< of tensor data
  nlohmann::json extra;    ///< the training loop's own
  std::string problem;     ///< empty for one that can be opened; else one line, and the counts are 0
};

/// The checkpoints of `folder`, oldest first. Throws Error(data) if there is no such folder.
std::vector<CheckpointInfo> list(const std::filesystem::path& folder);

struct VerifyReport {
  std::int64_t tensors = 0;
  std::int64_t blocks = 0;
  std::int64_t bytes = 0;             ///< read, file headers included
  std::vector<std::string> problems;  ///< one line each: file, tensor, block; empty when all is sound
};

/// Reads every byte of a step-... folder against the manifest's checksums, the HDF5 headers included. All damage is
/// reported, not just the first; a manifest that cannot be read is one problem.
VerifyReport verify(const std::filesystem::path& path);

}  // namespace medfuse::checkpoint
