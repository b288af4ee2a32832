#include "src/checkpoint/block_reader.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"

namespace medfuse::checkpoint {

namespace {

Descriptor open(const std::filesystem::path& path) {
  try {
    return Descriptor::open_to_read(path);
  } catch (const Error& error) {
    throw DamagedError(std::string(error.what()) +
                       "; restore the file, or delete the folder to continue from an older checkpoint");
  }
}

}  // namespace

BlockReader::BlockReader(const std::filesystem::path& path, const TensorInfo& tensor, const Shard& shard)
    : path_(path.string()),
      tensor_(tensor.name),
      shard_(shard),
      bytes_(shard_bytes(tensor, shard)),
      file_(open(path)) {}

void BlockReader::load(std::int64_t block, char* target) {
  const std::int64_t begin = block * kBlockBytes;
  const auto n = static_cast<std::size_t>(std::min(kBlockBytes, bytes_ - begin));
  std::string problem;
  try {
    file_.read(target, n, shard_.byte_offset + begin);
    if (checksum({target, n}) == shard_.blocks[static_cast<std::size_t>(block)]) return;
    problem = path_ + ": its content was changed or damaged";
  } catch (const Error& error) {
    problem = error.what();
  }
  throw DamagedError(
      fmt::format("{} (tensor {}, block {} of {}); delete the folder to continue from an older checkpoint", problem,
                  tensor_, block, shard_.dataset));
}

void BlockReader::read(char* target, std::int64_t begin, std::int64_t bytes) {
  while (bytes > 0) {
    const std::int64_t block = begin / kBlockBytes, inside = begin % kBlockBytes;
    const std::int64_t block_bytes = std::min(kBlockBytes, bytes_ - block * kBlockBytes);
    const std::int64_t n = std::min(bytes, block_bytes - inside);
    if (n == block_bytes) {
      load(block, target);
    } else {
      if (held_ != block) {
        buffer_.resize(static_cast<std::size_t>(kBlockBytes));
        held_ = -1;
        load(block, buffer_.data());
        held_ = block;
      }
      std::memcpy(target, buffer_.data() + inside, static_cast<std::size_t>(n));
    }
    target += n;
    begin += n;
    bytes -= n;
  }
}

}  // namespace medfuse::checkpoint
