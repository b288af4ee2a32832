// Lines in, ids out.
#include "data/tokenizer/tokenize_lines.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "tests/data/tokenizer/expectations.h"

namespace medfuse::data {
namespace {

std::string line_of(const std::vector<std::int32_t>& ids) {
  std::string line;
  for (const auto id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return line + "\n";
}

TEST(TokenizeLines, WritesOneLineForEach) {
  const Tokenizer tokenizer = Tokenizer::load(base_folder("gpt2"));
  std::istringstream in("Chest pain\n\n 12\xFF\r\nno line feed");
  std::ostringstream out;
  const TokenizedLines done = tokenize_lines(tokenizer, in, out);
  EXPECT_EQ(out.str(), line_of(tokenizer.encode("Chest pain")) + "\n" + line_of(tokenizer.encode(" 12\xFF\r")) +
                           line_of(tokenizer.encode("no line feed")));
  EXPECT_EQ(done.lines, 4);
  EXPECT_EQ(done.tokens, static_cast<std::int64_t>(tokenizer.encode("Chest pain").size() +
                                                   tokenizer.encode(" 12\xFF\r").size() +
                                                   tokenizer.encode("no line feed").size()));
}

TEST(TokenizeLines, TruncatesAtEitherSide) {
  const Tokenizer tokenizer = Tokenizer::load(base_folder("llama3"));
  const auto all = tokenizer.encode("one two three four five", false);
  const auto begin = tokenizer.find("<|begin_of_text|>").value();
  ASSERT_GT(all.size(), 4u);
  for (const auto side : {Tokenizer::Side::right, Tokenizer::Side::left}) {
    for (const bool add : {true, false}) {
      std::istringstream in("one two three four five\n");
      std::ostringstream out;
      tokenize_lines(tokenizer, in, out, {.add_special_tokens = add, .max_tokens = 4, .side = side});
      const std::ptrdiff_t room = add ? 3 : 4;
      std::vector<std::int32_t> wanted = side == Tokenizer::Side::right
                                             ? std::vector<std::int32_t>(all.begin(), all.begin() + room)
                                             : std::vector<std::int32_t>(all.end() - room, all.end());
      if (add) wanted.insert(wanted.begin(), begin);
      EXPECT_EQ(out.str(), line_of(wanted));
    }
  }
}

TEST(TokenizeLines, ReportsOutputThatCannotBeWritten) {
  const Tokenizer tokenizer = Tokenizer::load(base_folder("gpt2"));
  std::istringstream in("a\nb\n");
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  try {
    tokenize_lines(tokenizer, in, out);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_NE(std::string(error.what()).find("line 1"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace medfuse::data
