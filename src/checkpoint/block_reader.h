// Reads bytes of one shard, each block against its checksum before any of it is handed out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "src/checkpoint/manifest.h"

namespace medfuse::checkpoint {

class BlockReader {
 public:
  /// `shard` must outlive the reader. Throws DamagedError if the file cannot be opened.
  BlockReader(const std::filesystem::path& path, const TensorInfo& tensor, const Shard& shard);

  /// Bytes [begin, begin + bytes) of the shard. Keeps the last block, so ascending reads touch each block once.
  /// Throws DamagedError naming file, tensor and block.
  void read(char* target, std::int64_t begin, std::int64_t bytes);

 private:
  void load(std::int64_t block, char* target);

  std::string path_;
  std::string tensor_;
  const Shard& shard_;
  std::int64_t bytes_;
  Descriptor file_;
  std::int64_t held_ = -1;  // number of the block in buffer_
  std::vector<char> buffer_;
};

}  // namespace medfuse::checkpoint
