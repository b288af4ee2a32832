// Checksum of what lies in a file beside the tensors' bytes: HDF5's own structures.
#pragma once

#include <cstdint>
#include <vector>

#include "base/descriptor.h"

namespace medfuse::checkpoint {

struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t bytes = 0;
};

/// XXH64 of the file's `bytes` bytes without those in `skipped` (disjoint ranges in any order).
std::uint64_t header_checksum(const Descriptor& file, std::int64_t bytes, std::vector<ByteRange> skipped);

}  // namespace medfuse::checkpoint
