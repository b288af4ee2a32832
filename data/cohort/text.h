// The text of a sample: titled sections and abnormal labs, and its tokens within the allowed length.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace medfuse::data {

/// Runs of white space and control characters become one blank; none at the ends.
std::string one_line(std::string_view text);

/// "Chief complaint: fever" from a section's name and text.
std::string titled(const std::string& name, const std::string& text);

/// One abnormal result, as in "Lactate 4.2 mmol/L". No unit: just the name and the result.
std::string abnormal_lab(const std::string& name, const std::string& result, const std::string& unit);

/// "Abnormal labs: Lactate 4.2 mmol/L; Sodium 120 mEq/L."
std::string abnormal_labs(const std::vector<std::string>& results);

struct Tokens {
  std::vector<std::int32_t> ids;
  bool truncated = false;
};

/// Tokens of the parts, each on a line of its own, with the tokenizer's special tokens around all. If they are more
/// than `max_tokens`, every part keeps the beginning of its text: parts shorter than an equal share are kept whole, and
/// the room they leave is shared among the longer ones, so that a long history cannot push out medications and labs.
/// `encode(text, special)` as in TextEncoder. Throws Error(usage) if the special tokens alone fill max_tokens.
Tokens tokens_of(const std::vector<std::string>& parts,
                 const std::function<std::vector<std::int32_t>(std::string_view, bool)>& encode,
                 std::int64_t max_tokens);

/// How many elements of lists of the given lengths are kept within `budget`: the rule of tokens_of().
std::vector<std::size_t> shares(const std::vector<std::size_t>& lengths, std::size_t budget);

}  // namespace medfuse::data
