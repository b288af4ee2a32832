// Cuts text into the words that byte-pair encoding treats each on its own.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "data/tokenizer/json_view.h"
#include "data/tokenizer/pattern.h"

namespace medfuse::data {

/// Where a piece of text lies.
struct Span {
  std::size_t begin = 0, end = 0;
};

/// One step that cuts pieces into smaller ones: Split or Digits.
class Cutter {
 public:
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

  /// Cuts at the matches of `pattern`, or at what lies between them if `invert`.
  Cutter(Pattern pattern, Behavior behavior, bool invert);
  /// Cuts at numbers: each one alone, or runs of them.
  explicit Cutter(bool individual_digits);

  /// The pieces of `text`, in order, none empty.
  std::vector<Span> cut(std::string_view text) const;

 private:
  std::vector<Pattern> pattern_;  // Empty: numbers.
  Behavior behavior_;
  bool invert_ = false;
};

/// The "pre_tokenizer" of a file: Split and Digits steps, then ByteLevel.
class PreTokenizer {
 public:
  /// Throws Error(data) naming the key of what is not supported.
  explicit PreTokenizer(const JsonView& json);

  /// Calls `word` with each word of `text` (valid UTF-8, no added token in it).
  void words(std::string_view text, const std::function<void(std::string_view)>& word) const;

 private:
  void read(const JsonView& json, int depth);
  void read_split(const JsonView& json);
  void byte_level(std::string_view piece, const std::function<void(std::string_view)>& word) const;
  void run(std::size_t step, std::string_view piece, const std::function<void(std::string_view)>& word) const;

  std::vector<Cutter> cutters_;
  bool has_byte_level_ = false;
  bool add_prefix_space_ = false;
  std::vector<Cutter> byte_level_cutter_;  // At most one: GPT-2's expression.
};

}  // namespace medfuse::data
