// Ids and decoded text of nasty texts and of every code point, against those of the `tokenizers` package.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "data/tokenizer/utf8.h"
#include "tests/data/tokenizer/expectations.h"

namespace medfuse::data {
namespace {

std::vector<std::int32_t> bytes_as_ids(const std::string& text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

class Base : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (base_folder(GetParam()).empty()) {
      GTEST_SKIP() << "the weights of SmolLM2 are not there: run launch/weights.sh or set MEDFUSE_SMOLLM2";
    }
  }
  const nlohmann::json& wanted() const { return expected().at("bases").at(GetParam()); }
  Tokenizer load() const { return Tokenizer::load(base_folder(GetParam())); }
};

TEST_P(Base, GivesTheIdsOfNastyTexts) {
  const Tokenizer tokenizer = load();
  const auto& texts = nasty_texts();
  const auto& ids = wanted().at("ids");
  ASSERT_EQ(ids.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto given = tokenizer.encode(texts[i]);
    if (ids[i].size() == 2 && ids[i][1].is_string()) {
      Digest digest;
      digest.add(given);
      EXPECT_EQ(digest.hex(), ids[i][1].get<std::string>()) << "text " << i << " of " << texts[i].size() << " bytes";
    } else {
      EXPECT_EQ(given, ids[i].get<std::vector<std::int32_t>>()) << "text " << i << ": " << hex_of(texts[i]);
    }
  }
}

TEST_P(Base, TreatsEveryCodePointAlike) {
  const Tokenizer tokenizer = load();
  const auto& blocks = wanted().at("code_points");
  const auto per_block = expected().at("codes_per_block").get<std::uint32_t>();
  const auto per_text = expected().at("codes_per_text").get<std::uint32_t>();
  ASSERT_EQ(blocks.size() * per_block, 0x110000u);
  for (std::uint32_t block = 0; block < blocks.size(); ++block) {
    Digest digest;
    for (std::uint32_t first = block * per_block; first < (block + 1) * per_block; first += per_text) {
      std::string text;
      for (std::uint32_t code = first; code < first + per_text; ++code) {
        if (code >= 0xD800 && code <= 0xDFFF) continue;
        std::string bytes;
        append_utf8(bytes, code);
        text += "a" + bytes + "1" + bytes + bytes + " " + bytes + "B\n";
      }
      digest.add(tokenizer.encode(text));
    }
    EXPECT_EQ(digest.hex(), blocks[block].get<std::string>()) << fmt::format("in U+{:05X}...", block * per_block);
  }
}

TEST_P(Base, Decodes) {
  const Tokenizer tokenizer = load();
  for (const bool skip : {true, false}) {
    Digest digest;
    for (const auto& text : nasty_texts()) digest.add(bytes_as_ids(tokenizer.decode(tokenizer.encode(text), skip)));
    EXPECT_EQ(digest.hex(), wanted().at(skip ? "decoded" : "decoded_with_special").at(1).get<std::string>());
  }
  Digest digest;
  for (std::int32_t id = 0; id < tokenizer.vocabulary(); ++id) digest.add(bytes_as_ids(tokenizer.decode({id}, false)));
  EXPECT_EQ(digest.hex(), wanted().at("tokens_decoded").at(1).get<std::string>());
  EXPECT_EQ(tokenizer.decode({1 << 30, -5}), "");
}

TEST_P(Base, GivesTheSameFromSeveralThreads) {
  const Tokenizer tokenizer = load();
  std::vector<std::string> digests(4);
  std::vector<std::thread> threads;
  for (auto& digest : digests) {
    threads.emplace_back([&] {
      Digest own;
      for (const auto& text : nasty_texts()) own.add(tokenizer.encode(text));
      digest = own.hex();
    });
  }
  for (auto& thread : threads) thread.join();
  Digest alone;
  const Tokenizer fresh = load();
  for (const auto& text : nasty_texts()) alone.add(fresh.encode(text));
  for (const auto& digest : digests) EXPECT_EQ(digest, alone.hex());
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Base, testing::Values("gpt2", "llama3", "smollm2"),
                         [](const auto& one) { return one.param; });

// Each variant changes one thing in a tokenizer.json.
TEST(Variants, GiveTheIdsOfNastyTexts) {
  for (const auto& variant : expected().at("variants")) {
    const auto name = variant.at("name").get<std::string>();
    nlohmann::json document = base_document(variant.at("base"));
    document.merge_patch(variant.at("patch"));
    const Tokenizer tokenizer = TemporaryTokenizer(document.dump()).load();
    const auto digests = variant.at("digests").get<std::string>();
    ASSERT_EQ(digests.size(), 8 * nasty_texts().size());
    int wrong = 0;
    for (std::size_t i = 0; i < nasty_texts().size(); ++i) {
      Digest digest;
      digest.add(tokenizer.encode(nasty_texts()[i]));
      if (digest.end() == digests.substr(8 * i, 8)) continue;
      if (++wrong <= 3) ADD_FAILURE() << name << ", text " << i << ": " << hex_of(nasty_texts()[i]).substr(0, 200);
    }
    EXPECT_EQ(wrong, 0) << name;
  }
}

}  // namespace
}  // namespace medfuse::data
