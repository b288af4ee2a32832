// The parts of a tokenizer on their own.
#include <gtest/gtest.h>

#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/unicode_table.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

TEST(Utf8, ReadsWhatItWrites) {
  for (const std::uint32_t code : {0u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xD7FFu, 0xE000u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string text = "\xF0\x9F\x98\x80";
    append_utf8(text, code);
    EXPECT_EQ(valid_utf8_prefix(text), text.size());
    EXPECT_EQ(code_point_at(text, 4).value, code);
    EXPECT_EQ(code_point_at(text, 4).length, text.size() - 4);
    EXPECT_EQ(code_point_before(text, text.size()).value, code);
    EXPECT_EQ(repair_utf8(text), text);
  }
}

TEST(Utf8, RepairsByMaximalSubparts) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(repair_utf8("a\xE2\x82" "b"), "a" + bad + "b");
  EXPECT_EQ(repair_utf8("\xE0\x80\x80"), bad + bad + bad);
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), bad + bad + bad);
  EXPECT_EQ(repair_utf8("\xF0\x9F\x98"), bad);
  EXPECT_EQ(repair_utf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(valid_utf8_prefix("ab\xC3"), 2u);
}

TEST(ByteAlphabet, WritesEachByteAsOneCharacter) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += byte_character(static_cast<unsigned char>(byte));
    EXPECT_EQ(bytes_of_token(byte_character(static_cast<unsigned char>(byte))),
              std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(byte_character(' '), "\xC4\xA0");
  EXPECT_EQ(bytes_of_token(all)->size(), 256u);
  EXPECT_EQ(bytes_of_token("a b"), std::nullopt);
  EXPECT_EQ(bytes_of_token("\xE4\xB8\xAD"), std::nullopt);
}

TEST(UnicodeTable, IsSortedAndKeepsLengths) {
  std::uint32_t last = 0;
  for (std::size_t i = 0; i < stand_in_count; ++i) {
    EXPECT_GT(stand_ins[i].first, last);
    EXPECT_LE(stand_ins[i].first, stand_ins[i].last);
    last = stand_ins[i].last;
    std::string first, end, stand_in;
    append_utf8(first, stand_ins[i].first);
    append_utf8(end, stand_ins[i].last);
    append_utf8(stand_in, stand_ins[i].stand_in);
    EXPECT_EQ(first.size(), stand_in.size());
    EXPECT_EQ(end.size(), stand_in.size());
  }
  EXPECT_GE(stand_ins[0].first, 0x800u) << "text_for_matching looks at sequences of three bytes and more";
}

TEST(Unicode, ReplacesWhatPcre2MayNotKnow) {
  std::string buffer;
  EXPECT_EQ(text_for_matching("plain \xC3\xA9 \xE4\xB8\xAD", buffer), "plain \xC3\xA9 \xE4\xB8\xAD");
  const std::string text = "x\xF0\x9E\x93\x90y";  // U+1E4D0, a letter since Unicode 15
  const auto seen = text_for_matching(text, buffer);
  EXPECT_EQ(seen.size(), text.size());
  EXPECT_NE(seen, text);
  EXPECT_TRUE(is_number(0x11DE0)) << "a number since Unicode 17";
  EXPECT_TRUE(is_number(0x2160));
  EXPECT_FALSE(is_number(0x4E00));
  EXPECT_FALSE(is_space(0x180E));
  EXPECT_TRUE(is_word(0x24B6));
  EXPECT_FALSE(is_word(0xB2));
}

TEST(Pattern, FindsMatchesFromLeftToRight) {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  const auto keep = [&](std::size_t begin, std::size_t end) { found.emplace_back(begin, end); };
  Pattern(R"(\p{L}+|\s+(?!\S))").find_all("ab  c\xC3\xA9 ", keep);
  EXPECT_EQ(found, (std::vector<std::pair<std::size_t, std::size_t>>{{0, 2}, {2, 3}, {4, 7}, {7, 8}}));
  found.clear();
  Pattern("a.", true).find_all("aba.a.", keep);
  EXPECT_EQ(found, (std::vector<std::pair<std::size_t, std::size_t>>{{2, 4}, {4, 6}}));
  Pattern("x").find_all("", [&](auto, auto) { FAIL(); });
}

TEST(Pattern, StandsLongTexts) {
  std::size_t matches = 0;
  const std::string text = std::string(1 << 20, ' ') + std::string(1 << 20, 'a') + std::string(1 << 20, '\n');
  const auto count = [&](std::size_t, std::size_t) { ++matches; };
  Pattern(R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\s*[\r\n]+|\s+(?!\S)|\s+)").find_all(text, count);
  EXPECT_EQ(matches, 3u);
  Pattern(R"((?:a|b)+)").find_all(text, count);
  EXPECT_EQ(matches, 4u);
}

}  // namespace
}  // namespace medfuse::data
