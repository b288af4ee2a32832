// UTF-8: reading code points of valid text, and repairing broken text as Python does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace medfuse::data {

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t length = 0;  ///< Bytes.
};

/// The code point at text[at], which must be the first byte of one in valid UTF-8.
CodePoint code_point_at(std::string_view text, std::size_t at);

/// The code point that ends at text[end - 1], in valid UTF-8; end > 0.
CodePoint code_point_before(std::string_view text, std::size_t end);

void append_utf8(std::string& text, std::uint32_t code);

/// Bytes of `text` that are valid UTF-8, from the front.
std::size_t valid_utf8_prefix(std::string_view text);

/// `text` with U+FFFD for each broken sequence: the longest beginning of a code point that no code point continues, or
/// one stray byte (Unicode's "maximal subpart" rule, Python's errors="replace").
std::string repair_utf8(std::string_view text);

}  // namespace medfuse::data
