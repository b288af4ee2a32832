// Checks of option values against their bounds, so that all commands word them alike.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace medfuse::launch {

/// Throws Error(usage) naming `key` unless low <= value <= high; not a number is outside.
inline void between(const std::string& key, double value, double low, double high) {
  if (!(value >= low && value <= high)) usage_error("{} = {} must lie between {} and {}", key, value, low, high);
}

inline void between(const std::string& key, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) usage_error("{} = {} must lie between {} and {}", key, value, low, high);
}

}  // namespace medfuse::launch
