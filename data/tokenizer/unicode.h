// Character classes as the `tokenizers` package sees them, whatever Unicode version the libraries here know.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace medfuse::data {

/// Rust's char::is_numeric: general category Nd, Nl or No.
bool is_number(std::uint32_t code);

/// \s and \w of Rust's regex crate, by which added tokens look at their neighbours.
bool is_space(std::uint32_t code);
bool is_word(std::uint32_t code);

/// Whether the package's NFC knows `code`; it leaves the others where they are.
bool known_to_nfc(std::uint32_t code);

/// `text` (valid UTF-8) in the form in which a regular expression is to see it: each code point that PCRE2 may put in
/// another class is replaced by one of the same length, so that offsets stay. Returns `text` itself if there is none,
/// else a view of `buffer`.
std::string_view text_for_matching(std::string_view text, std::string& buffer);

}  // namespace medfuse::data
