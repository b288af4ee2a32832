#include "data/tables/fields.h"

#include <gtest/gtest.h>

namespace medfuse::data {
namespace {

TEST(Fields, Integers) {
  EXPECT_EQ(parse_integer("12"), 12);
  EXPECT_EQ(parse_integer(" -7 "), -7);
  EXPECT_EQ(parse_integer("12.0"), 12);
  for (const char* text : {"", "12a", "1.5", ".", "1e3", "99999999999999999999", "0x1f"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(Fields, Numbers) {
  EXPECT_EQ(parse_number("4.25"), 4.25);
  EXPECT_EQ(parse_number(" -3e2"), -300.0);
  for (const char* text : {"", "NEG", ">100", "1+", "nan", "inf", "1,5", "4.2 mg", "1e999"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
}

TEST(Fields, Times) {
  EXPECT_EQ(parse_time("1970-01-02"), 86400);
  EXPECT_EQ(parse_time("2000-02-29 12:34:56"), 951827696);
  EXPECT_EQ(parse_time("2000-02-29T12:34:56.789Z"), 951827696);
  EXPECT_EQ(parse_time("2000-02-29 12:34"), 951827640);
  EXPECT_EQ(*parse_time("2164-10-23 21:09:00") - *parse_time("2164-10-22 21:09:00"), 86400);
  for (const char* text : {"", "2001-02-29", "2000-13-01", "2000-1-1", "2000-01-01 24:00:00", "2000-01-01 1:00",
                           "2000-01-01x", "2000-01-01 10:00:00.", "01/02/2000", "2000-01-01 10:00:00 +1"}) {
    EXPECT_EQ(parse_time(text), std::nullopt) << text;
  }
}

TEST(Fields, Utf8) {
  for (const char* text : {"", "plain ASCII, longer than a word", "µg/dL", "日本語のテキスト", "\xf0\x9f\x98\x80"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  for (const char* text : {"caf\xe9", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "long enough text \xe2\x82",
                           "\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text));
  }
}

}  // namespace
}  // namespace medfuse::data
