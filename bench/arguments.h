// What the programs of this folder are told on their command lines.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace medfuse::bench {

/// Throws Error(usage) for anything but a whole number from `smallest` on.
inline std::int64_t number(std::string_view text, std::int64_t smallest) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < smallest) {
    usage_error("'{}' is no whole number from {} on", text, smallest);
  }
  return value;
}

}  // namespace medfuse::bench
