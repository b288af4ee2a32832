// Text of a table's cell to numbers and times.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace medfuse::data {

/// Without blanks (space, tab, CR, LF) at both ends.
std::string_view trim(std::string_view text);

/// ASCII lower case; other bytes stay.
std::string lower(std::string_view text);

/// A whole cell as a decimal integer; "12.0" counts, since spreadsheets write ids like that.
std::optional<std::int64_t> parse_integer(std::string_view text);

/// A whole cell as a finite decimal number.
std::optional<double> parse_number(std::string_view text);

/// Seconds since 1970 of "YYYY-MM-DD", optionally followed by a space or 'T' and "HH:MM", "HH:MM:SS" or "HH:MM:SS.f..."
/// (fractions are dropped) and 'Z'. No zone: MIMIC-III's shifted times have none.
std::optional<std::int64_t> parse_time(std::string_view text);

/// Whether the bytes are well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

}  // namespace medfuse::data
