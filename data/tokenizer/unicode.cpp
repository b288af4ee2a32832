#include "data/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "data/tokenizer/unicode_table.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

const StandIn* find(const StandIn* table, std::size_t count, std::uint32_t code) {
  const StandIn* end = table + count;
  const StandIn* entry = std::lower_bound(
      table, end, code, [](const StandIn& range, std::uint32_t wanted) { return range.last < wanted; });
  return entry != end && entry->first <= code ? entry : nullptr;
}

std::uint32_t old_equivalent(std::uint32_t code) {
  const StandIn* entry = find(stand_ins, stand_in_count, code);
  return entry ? entry->stand_in : code;
}

utf8proc_category_t category(std::uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(old_equivalent(code)));
}

// Alphabetic by Other_Alphabetic, though symbols: circled and squared letters.
bool is_letter_symbol(std::uint32_t code) {
  return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
         (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

}  // namespace

bool is_number(std::uint32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  const utf8proc_category_t kind = category(code);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO ||
         find(newest_numbers, newest_number_count, code) != nullptr;
}

bool is_space(std::uint32_t code) {
  return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_word(std::uint32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return is_letter_symbol(code) || code == 0x200C || code == 0x200D;
  }
}

bool known_to_nfc(std::uint32_t code) {
  return code < 0x300 || (!find(unmoved_marks, unmoved_mark_count, code) && !find(stand_ins, stand_in_count, code));
}

std::string_view text_for_matching(std::string_view text, std::string& buffer) {
  // The first listed code point is U+0897: only text with three- or four-byte sequences can hold one.
  const auto is_long = [](char c) { return static_cast<unsigned char>(c) >= 0xE0; };
  const auto first_long = std::find_if(text.begin(), text.end(), is_long);
  if (first_long == text.end()) return text;
  bool changed = false;
  for (std::size_t at = static_cast<std::size_t>(first_long - text.begin()); at < text.size();) {
    const CodePoint code = code_point_at(text, at);
    if (code.length >= 3) {
      const std::uint32_t replacement = old_equivalent(code.value);
      if (replacement != code.value) {
        if (!changed) buffer.assign(text);
        changed = true;
        std::string bytes;
        append_utf8(bytes, replacement);
        buffer.replace(at, code.length, bytes);
      }
    }
    at += code.length;
  }
  return changed ? std::string_view(buffer) : text;
}

}  // namespace medfuse::data
