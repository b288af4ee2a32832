// Counter-based randomness: every draw is a pure function of named counters, never of a generator's history, so that
// it does not depend on the number of ranks, on batch splitting or on where a run was resumed.
// The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
// OOPSLA 2014).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace medfuse {

/// A bijection of 64-bit integers that scatters neighbouring inputs. src/ops/dropout computes the same on tensors.
constexpr std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// Key of a sequence of counters, e.g. key({seed, stage, epoch, sample}).
constexpr std::uint64_t key(std::initializer_list<std::uint64_t> counters) {
  std::uint64_t k = 0;
  for (const std::uint64_t c : counters) k = mix(k ^ mix(c));
  return k;
}

/// Uniform in [0, 1) from a key, with 53 bits.
constexpr double uniform(std::uint64_t k) { return static_cast<double>(k >> 11) * 0x1.0p-53; }

/// Counter for a name (a stage, a parameter): its XXH64.
std::uint64_t name_counter(std::string_view name);

}  // namespace medfuse
