// XXH64 checksums (seed 0) as text, and JSON files that carry their own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace medfuse {

std::uint64_t checksum(std::string_view text);

/// 16 hex digits in lower case, and back.
std::string hex(std::uint64_t checksum);
std::optional<std::uint64_t> from_hex(std::string_view text);

/// A sealed JSON object has as its first line, and first member, the checksum of all that follows:
///   {"xxh64": "0123456789abcdef",
inline constexpr std::size_t seal_bytes = 30;  ///< of that line, its end included

/// `rest`: the other lines, from the first other member to the closing brace.
std::string seal(std::string_view rest);

enum class Seal { sound, broken, missing };
Seal check_seal(std::string_view text);

}  // namespace medfuse
