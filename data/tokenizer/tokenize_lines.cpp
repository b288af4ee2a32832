#include "data/tokenizer/tokenize_lines.h"

#include <istream>
#include <iterator>
#include <ostream>
#include <string>

#include "base/error.h"

namespace medfuse::data {

TokenizedLines tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                              const TokenizeLinesOptions& options) {
  TokenizedLines done;
  std::string line, written;
  while (std::getline(in, line)) {
    const std::vector<std::int32_t> ids =
        options.max_tokens
            ? tokenizer.encode_at_most(line, *options.max_tokens, options.side, options.add_special_tokens)
            : tokenizer.encode(line, options.add_special_tokens);
    written.clear();
    for (const std::int32_t id : ids) fmt::format_to(std::back_inserter(written), "{} ", id);
    if (written.empty()) {
      written.push_back('\n');
    } else {
      written.back() = '\n';
    }
    ++done.lines;
    done.tokens += static_cast<std::int64_t>(ids.size());
    if (!out.write(written.data(), static_cast<std::streamsize>(written.size()))) {
      data_error("output: cannot be written at line {}: is the disk full or the reader gone?", done.lines);
    }
  }
  if (in.bad()) data_error("input: cannot be read after line {}", done.lines);
  if (!out.flush()) {
    data_error("output: cannot be written at line {}: is the disk full or the reader gone?", done.lines);
  }
  return done;
}

}  // namespace medfuse::data
