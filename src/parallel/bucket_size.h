// How large the buckets are that gradients travel in. Free of LibTorch: what plans a job follows the same rule.
#pragma once

#include <algorithm>

namespace medfuse::parallel {

/// Bytes that a bucket may have, of gradients that take `total` bytes on the wire: `mib` MiB, but no more than an eighth of
/// all. What is sent last has no backward pass left to hide behind, and a few adapters would all be in that one bucket.
/// Up to 256 KiB a message costs little more than its latency: there only `mib` divides further.
inline double bucket_bytes(double mib, double total) {
  constexpr double least = 256 * 1024;
  return std::min(mib * 1024 * 1024, std::max(least, total / 8));
}

}  // namespace medfuse::parallel
