#include "data/cohort/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tokenizer/tokenizer.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using medfuse::testing::byte_encoder;
using medfuse::testing::error_of;
using Sizes = std::vector<std::size_t>;

std::string text_of(const Tokens& tokens) {
  Sample sample;
  sample.tokens = tokens.ids;
  return medfuse::testing::decode(sample);
}

TEST(Text, OneLine) {
  EXPECT_EQ(one_line("  a\r\n\tb  c\x01 "), "a b c");
  EXPECT_EQ(one_line(""), "");
  EXPECT_EQ(titled("chief complaint", "fever"), "Chief complaint: fever");
  EXPECT_EQ(abnormal_labs({abnormal_lab("Lactate", "4.2", "mmol/L"), abnormal_lab("Culture", "POSITIVE", "")}),
            "Abnormal labs: Lactate 4.2 mmol/L; Culture POSITIVE.");
}

TEST(Text, SharesGiveShortPartsAllTheyNeed) {
  EXPECT_EQ(shares({3, 100, 5, 50}, 200), (Sizes{3, 100, 5, 50}));
  EXPECT_EQ(shares({3, 100, 5, 50}, 68), (Sizes{3, 30, 5, 30}));
  EXPECT_EQ(shares({100, 100, 100}, 10), (Sizes{3, 3, 4}));
  EXPECT_EQ(shares({1, 1, 1}, 2), (Sizes{0, 1, 1}));
  EXPECT_TRUE(shares({}, 5).empty());
}

TEST(Text, TokensAreThoseOfTheLinesTogether) {
  const Tokens tokens = tokens_of({"one", "two"}, byte_encoder().encode, 8);
  EXPECT_EQ(tokens.ids, byte_encoder().encode("one\ntwo", true));
  EXPECT_FALSE(tokens.truncated);
}

TEST(Text, LinesAloneGiveTheTokensOfTheWholeText) {
  for (const std::string name : {"gpt2", "llama3"}) {
    const Tokenizer tokenizer = Tokenizer::load("tests/fixtures/tokenizer/" + name);
    const TextEncoder encoder = text_encoder(tokenizer, name);
    const std::vector<std::string> parts = {"Chief complaint: Fever, dysuria.", "History of present illness: 3 days (12",
                                            "Past medical history: none --", "Abnormal labs: Größe 4.2 µg/dL; K 5."};
    std::string whole;
    for (std::size_t i = 0; i < parts.size(); ++i) whole += (i > 0 ? "\n" : "") + parts[i];
    EXPECT_EQ(tokens_of(parts, encoder.encode, 10'000).ids, tokenizer.encode(whole)) << name;
    const std::vector<std::int32_t> cut = tokens_of({whole}, encoder.encode, 20).ids;
    EXPECT_EQ(cut, tokenizer.encode_at_most(whole, 20)) << name;
    EXPECT_EQ(encoder.fingerprint.size(), 16u);
    EXPECT_GT(encoder.vocabulary, 256);
  }
}

TEST(Text, EveryPartSurvivesTruncation) {
  const Tokens tokens = tokens_of({std::string(100, 'h'), "meds", std::string(50, 'l')}, byte_encoder().encode, 30);
  EXPECT_TRUE(tokens.truncated);
  EXPECT_EQ(tokens.ids.size(), 30u);
  EXPECT_EQ(tokens.ids[0], 256);
  EXPECT_EQ(text_of(tokens), std::string(12, 'h') + "meds\n" + std::string(12, 'l'));
}

TEST(Text, RoomForSpecialTokens) {
  EXPECT_EQ(tokens_of({"text"}, byte_encoder().encode, 2).ids.size(), 2u);
  EXPECT_THAT(error_of([] { tokens_of({"text"}, byte_encoder().encode, 1); }, ExitCode::usage),
              ::testing::HasSubstr("text.max_tokens"));
}

}  // namespace
}  // namespace medfuse::data
