// Regular expressions of pre-tokenizers: those that PCRE2 and the `tokenizers` package's Oniguruma read alike.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace medfuse::data {

/// Why `expression` might be read in another way by Oniguruma (Ruby syntax) than by PCRE2; empty if it is not.
/// Accepted: literals, \r \n \t \s \S \p{general category} \P{...}, classes without nesting, groups
/// (?: (?i: (?= (?! (?<= (?<!, quantifiers, alternatives.
std::string foreign_construct(std::string_view expression);

/// A compiled expression; find_all may be called from several threads at once.
class Pattern {
 public:
  /// `literal`: the text itself is looked for. Throws std::invalid_argument with the reason (one line) if the
  /// expression is broken, would be read in another way, or can match an empty text.
  explicit Pattern(const std::string& expression, bool literal = false);

  /// Calls `match(begin, end)` for the matches in `text` (valid UTF-8) from left to right, none overlapping.
  /// Throws Error(data) if matching needs more steps or memory than PCRE2 allows.
  void find_all(std::string_view text, const std::function<void(std::size_t, std::size_t)>& match) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string shown_;
};

}  // namespace medfuse::data
