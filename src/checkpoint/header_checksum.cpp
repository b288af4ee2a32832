#include "src/checkpoint/header_checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>

namespace medfuse::checkpoint {

std::uint64_t header_checksum(const Descriptor& file, std::int64_t bytes, std::vector<ByteRange> skipped) {
  std::sort(skipped.begin(), skipped.end(), [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  skipped.push_back({bytes, 0});
  const std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state(XXH64_createState(), XXH64_freeState);
  XXH64_reset(state.get(), 0);
  std::vector<char> buffer(1 << 16);
  std::int64_t at = 0;
  for (const ByteRange& range : skipped) {
    while (at < range.begin) {
      const auto n = std::min(static_cast<std::int64_t>(buffer.size()), range.begin - at);
      file.read(buffer.data(), static_cast<std::size_t>(n), at);
      XXH64_update(state.get(), buffer.data(), static_cast<std::size_t>(n));
      at += n;
    }
    at = std::max(at, range.begin + range.bytes);
  }
  return XXH64_digest(state.get());
}

}  // namespace medfuse::checkpoint
