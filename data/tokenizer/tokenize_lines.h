// `medfuse tokenize`: lines of text in, lines of ids out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>

#include "data/tokenizer/tokenizer.h"

namespace medfuse::data {

struct TokenizeLinesOptions {
  bool add_special_tokens = true;
  std::optional<std::size_t> max_tokens;            ///< Longer lines are truncated to this many ids.
  Tokenizer::Side side = Tokenizer::Side::right;    ///< The end that truncation drops.
};

struct TokenizedLines {
  std::int64_t lines = 0;
  std::int64_t tokens = 0;
};

/// Reads `in` to its end and writes, for each line, its ids separated by single blanks and a line feed; an empty line
/// without ids gives an empty line. The line feed ends a line and is not part of it, a carriage return is part of it; a
/// last line may lack its line feed. Throws Error(data) with the line number if `in` cannot be read or `out` written.
TokenizedLines tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                              const TokenizeLinesOptions& options = {});

}  // namespace medfuse::data
