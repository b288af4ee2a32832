// Code points that the `tokenizers` package classifies by a newer Unicode than PCRE2 and utf8proc may know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace medfuse::data {

/// first..last behave like `stand_in`, an old code point of the same general category and length in UTF-8.
struct StandIn {
  std::uint32_t first, last, stand_in;
};

/// Sorted, disjoint.
extern const StandIn stand_ins[];
extern const std::size_t stand_in_count;

/// Numbers for Rust's char::is_numeric that are unassigned for the regular expressions; `stand_in` is not used.
extern const StandIn newest_numbers[];
extern const std::size_t newest_number_count;

/// Combining marks that the package's NFC, of an older Unicode, does not move past others; `stand_in` is not used.
extern const StandIn unmoved_marks[];
extern const std::size_t unmoved_mark_count;

}  // namespace medfuse::data
