// Broken and unsupported files: one line that names file and key, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/files.h"
#include "tests/data/tokenizer/expectations.h"

namespace medfuse::data {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string message_of(const std::filesystem::path& path) {
  try {
    Tokenizer::load(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.what();
  }
  return "";
}

std::string message_for(const char* base, const char* patch) {
  nlohmann::json document = base_document(base);
  document.merge_patch(nlohmann::json::parse(patch));
  const TemporaryTokenizer written(document.dump());
  const std::string message = message_of(written.folder());
  EXPECT_THAT(message, HasSubstr(written.file().string()));
  return message;
}

TEST(TokenizerFile, TellsWhatItHolds) {
  const Tokenizer llama3 = Tokenizer::load(base_folder("llama3"));
  EXPECT_EQ(llama3.vocabulary(), 1505);
  EXPECT_EQ(llama3.find("<|begin_of_text|>"), 1500);
  EXPECT_EQ(llama3.find("no such token"), std::nullopt);
  EXPECT_EQ(llama3.pad_id(), std::nullopt);
  EXPECT_EQ(llama3.eos_id(), std::nullopt);
  EXPECT_EQ(llama3.fingerprint(),
            fmt::format("{:016x}", file_checksum(base_folder("llama3") / "tokenizer.json")));
  EXPECT_EQ(Tokenizer::load(base_folder("llama3") / "tokenizer.json").fingerprint(), llama3.fingerprint());
  EXPECT_NE(Tokenizer::load(base_folder("gpt2")).fingerprint(), llama3.fingerprint());
}

TEST(TokenizerFile, TakesPaddingAndEndFromTheConfiguration) {
  const TemporaryTokenizer written(base_document("llama3").dump());
  const auto config = written.folder() / "tokenizer_config.json";
  std::ofstream(config) << R"({"pad_token": "<|end_of_text|>", "eos_token": {"content": "<|eot_id|>"}})";
  EXPECT_EQ(written.load().pad_id(), 1501);
  EXPECT_EQ(written.load().eos_id(), 1504);
  EXPECT_EQ(Tokenizer::load(written.file()).pad_id(), std::nullopt);
  std::ofstream(config) << R"({"pad_token": "<pad>"})";
  EXPECT_THAT(message_of(written.folder()), HasSubstr(config.string() + ": pad_token is \"<pad>\""));
  std::ofstream(config) << R"({"pad_token": 7})";
  EXPECT_THAT(message_of(written.folder()), HasSubstr("pad_token must be a string"));
  std::ofstream(config) << "{";
  EXPECT_THAT(message_of(written.folder()), HasSubstr(config.string() + ": not valid JSON"));
}

TEST(TokenizerFile, TakesPaddingFromItself) {
  nlohmann::json document = base_document("llama3");
  document["padding"] = {{"strategy", "BatchLongest"}, {"pad_id", 1502}, {"pad_token", "<|start_header_id|>"}};
  EXPECT_EQ(TemporaryTokenizer(document.dump()).load().pad_id(), 1502);
  EXPECT_THAT(message_for("llama3", R"({"padding": {"pad_id": 99999}})"), HasSubstr("padding.pad_id is 99999"));
}

TEST(TokenizerFile, NamesWhatIsMissing) {
  EXPECT_THAT(message_of("no/such/folder"), HasSubstr("no/such/folder"));
  const auto folder = std::filesystem::path("tests/fixtures");
  EXPECT_THAT(message_of(folder), HasSubstr((folder / "tokenizer.json").string()));
  EXPECT_THAT(message_of(TemporaryTokenizer("").folder()), HasSubstr("not valid JSON"));
  EXPECT_THAT(message_of(TemporaryTokenizer("[]").folder()), HasSubstr("the document must be an object"));
  EXPECT_THAT(message_of(TemporaryTokenizer("{}").folder()), HasSubstr("pre_tokenizer is null"));
  EXPECT_THAT(message_of(TemporaryTokenizer("{\"a\": 1e999}").folder()), HasSubstr("not valid JSON"));
}

TEST(TokenizerFile, NamesWhatIsNotSupported) {
  const auto gpt2 = [](const char* patch) { return message_for("gpt2", patch); };
  EXPECT_THAT(gpt2(R"({"version": "2.0"})"), HasSubstr("version must be"));
  EXPECT_THAT(gpt2(R"({"model": {"type": "Unigram"}})"), HasSubstr("model.type \"Unigram\" is not supported"));
  EXPECT_THAT(gpt2(R"({"model": {"dropout": 0.1}})"), HasSubstr("model.dropout"));
  EXPECT_THAT(gpt2(R"({"model": {"byte_fallback": true}})"), HasSubstr("model.byte_fallback"));
  EXPECT_THAT(gpt2(R"({"model": {"end_of_word_suffix": "</w>"}})"), HasSubstr("model.end_of_word_suffix"));
  EXPECT_THAT(gpt2(R"({"model": {"novelty": 1}})"), HasSubstr("model has the unknown key \"novelty\""));
  EXPECT_THAT(gpt2(R"({"model": {"unk_token": "<unk>"}})"), HasSubstr("model.unk_token is not in the vocabulary"));
  EXPECT_THAT(gpt2(R"({"model": {"vocab": {"zz": 3}}})"), HasSubstr("has the id 3 of another token"));
  EXPECT_THAT(gpt2(R"({"model": {"vocab": {"zz": -3}}})"), HasSubstr("model.vocab[\"zz\"] must be a whole number"));
  EXPECT_THAT(gpt2(R"({"model": {"vocab": {"zz": 4294967296}}})"), HasSubstr("model.vocab[\"zz\"] is 4294967296"));
  EXPECT_THAT(gpt2(R"({"model": {"merges": ["a b c"]}})"), HasSubstr("model.merges[0] must be two tokens"));
  EXPECT_THAT(gpt2(R"({"model": {"merges": [["a"]]}})"), HasSubstr("model.merges[0] must hold two tokens"));
  EXPECT_THAT(gpt2(R"({"model": {"merges": ["Z Z"]}})"), HasSubstr("model.merges[0] needs \"ZZ\""));
  EXPECT_THAT(gpt2(R"({"model": {"merges": null}})"), HasSubstr("model.merges is missing"));
  EXPECT_THAT(gpt2(R"({"pre_tokenizer": null})"), HasSubstr("pre_tokenizer is null"));
  EXPECT_THAT(gpt2(R"({"pre_tokenizer": {"type": "Metaspace"}})"), HasSubstr("pre_tokenizer.type \"Metaspace\""));
  EXPECT_THAT(gpt2(R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}],
                       "add_prefix_space": null, "trim_offsets": null, "use_regex": null}})"),
              HasSubstr("pre_tokenizer.pretokenizers[0].type \"Whitespace\""));
  EXPECT_THAT(gpt2(R"({"normalizer": {"type": "Lowercase"}})"), HasSubstr("normalizer.type \"Lowercase\""));
  EXPECT_THAT(gpt2(R"({"post_processor": {"type": "BertProcessing"}})"), HasSubstr("post_processor.type"));
  EXPECT_THAT(gpt2(R"({"decoder": {"type": "WordPiece"}})"), HasSubstr("decoder.type \"WordPiece\""));
  EXPECT_THAT(gpt2(R"({"truncation": {"max_length": 4, "strategy": "OnlySecond", "stride": 0}})"),
              HasSubstr("truncation.strategy"));
  EXPECT_THAT(gpt2(R"({"truncation": {"max_length": 4, "stride": 4}})"), HasSubstr("truncation.max_length"));
  EXPECT_THAT(gpt2(R"({"added_tokens": [{"id": 4, "content": "<new>", "single_word": false, "lstrip": false,
                       "rstrip": false, "normalized": false, "special": true}]})"),
              HasSubstr("added_tokens[0].id is 4 for \"<new>\""));
  nlohmann::json twice = base_document("llama3");
  twice["post_processor"]["processors"].push_back(twice["post_processor"]["processors"][1]);
  EXPECT_THAT(message_of(TemporaryTokenizer(twice.dump()).folder()),
              HasSubstr("post_processor.processors[2] is a second template"));
  EXPECT_THAT(message_for("llama3", R"({"truncation": {"max_length": 0, "strategy": "OnlyFirst", "stride": 0}})"),
              HasSubstr("truncation.max_length"));
}

TEST(TokenizerFile, RefusesExpressionsThatCouldMeanSomethingElse) {
  const auto with = [](const std::string& expression) {
    nlohmann::json document = base_document("llama3");
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = expression;
    return message_of(TemporaryTokenizer(document.dump()).folder());
  };
  for (const char* expression :
       {"\\w+",   "\\d",     "\\bx",       "\\h",    "^x",    "x$",    "a.b",   "[[:alpha:]]", "[a&&b]", "(?m:x)",
        "(?i)x",  "\\p{Han}", "\\p{C}",    "\\pL",   "\\x{41}", "(?>x)", "a{,3}", "(?<name>x)",  "a{2}+",  "a{2}?",
        "x**",    "(x",      "x)",        "[x",     "[]x]",  "[^]",   "x\\",   "[\\s-x]",     "*",      "(*UCP)x",
        "(?i:\xC3\xA9)"}) {
    EXPECT_THAT(with(expression), HasSubstr("pre_tokenizer.pretokenizers[0].pattern.Regex is not supported"))
        << expression;
  }
  for (const char* expression : {"", "x*", "x?|y", "(?=x)", "\\s*"}) {
    EXPECT_THAT(with(expression), HasSubstr("pre_tokenizer.pretokenizers[0].pattern.Regex is")) << expression;
  }
  EXPECT_THAT(with("[z-a]"), HasSubstr("is no regular expression"));
  EXPECT_THAT(with("(?<=x+)y"), HasSubstr("is no regular expression"));
}

TEST(TokenizerFile, RefusesALengthWithoutRoom) {
  const Tokenizer tokenizer = Tokenizer::load(base_folder("llama3"));
  EXPECT_EQ(tokenizer.encode_at_most("a b c d", 2).size(), 2u);
  EXPECT_THROW(tokenizer.encode_at_most("a b c d", 1), Error);
  EXPECT_EQ(tokenizer.encode_at_most("a b c d", 1, Tokenizer::Side::right, false).size(), 1u);
}

TEST(TokenizerFile, NeverCrashesOnBrokenContent) {
  std::mt19937_64 random(5);
  const auto pick = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  const char* snippets[] = {"null", "-1",   "1e999",    "4294967297", "\"\"",            "[",          "]",
                            "{",    "}",    "true",     "\\ud800",    "\"\\\\p{L}*\"",  "[[[[[[[[[[", "\xFF",
                            "0.5",  ",",    "\"a a a\"", "\"(((((((\"", "\"Sequence\""};
  int failed = 0, loaded = 0;
  for (const char* base : {"gpt2", "llama3"}) {
    const std::string content = read_file(base_folder(base) / "tokenizer.json");
    const std::size_t vocabulary = content.find("\"vocab\"");
    for (int round = 0; round < 200; ++round) {
      std::string broken = content;
      // Mostly before the vocabulary, where the structure lies.
      const auto place = [&] { return pick(round % 4 == 0 ? broken.size() : std::min(vocabulary, broken.size())); };
      if (round % 5 == 0) broken.resize(place());
      for (std::size_t change = pick(3) + (round % 5 == 0 ? 0 : 1); change > 0 && !broken.empty(); --change) {
        const std::size_t at = place();
        switch (pick(4)) {
          case 0: broken[at] = static_cast<char>(pick(256)); break;
          case 1: broken.erase(at, pick(40) + 1); break;
          case 2: broken.insert(at, snippets[pick(std::size(snippets))]); break;
          default: broken.insert(at, broken.substr(place(), pick(60)));
        }
      }
      const TemporaryTokenizer written(broken);
      try {
        const Tokenizer tokenizer = written.load();
        for (std::size_t i = 0; i < nasty_texts().size(); i += 7) {
          if (nasty_texts()[i].size() < 1000) tokenizer.decode(tokenizer.encode(nasty_texts()[i]));
        }
        ++loaded;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::data);
        EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
        ++failed;
      }
    }
  }
  EXPECT_GT(failed, 100);
  EXPECT_GT(loaded, 3);
}

// Like the above, but on the level of values, so that the file stays JSON and the checks of keys are reached.
TEST(TokenizerFile, NeverCrashesOnWrongValues) {
  std::mt19937_64 random(11);
  const nlohmann::json values[] = {nullptr, true, -1, 3, 1.5, 1u << 31, "", "x", "Sequence", nlohmann::json::array(),
                                   nlohmann::json::object(), {{"type", "ByteLevel"}}, {"a", "b"}};
  for (const char* base : {"gpt2", "llama3"}) {
    nlohmann::json document = base_document(base);
    document["truncation"] = {{"direction", "Right"}, {"max_length", 9}, {"strategy", "OnlyFirst"}, {"stride", 0}};
    const nlohmann::json flat = document.flatten();
    std::vector<std::string> pointers;
    for (const auto& [pointer, value] : flat.items()) {
      const bool bulk = pointer.starts_with("/model/vocab") || pointer.starts_with("/model/merges");
      if (bulk && random() % 50 != 0) continue;
      // The value itself and each thing that it lies in.
      for (std::string at = pointer; !at.empty(); at.resize(at.rfind('/'))) pointers.push_back(at);
    }
    std::sort(pointers.begin(), pointers.end());
    pointers.erase(std::unique(pointers.begin(), pointers.end()), pointers.end());
    for (const auto& pointer : pointers) {
      nlohmann::json changed = document;
      changed[nlohmann::json::json_pointer(pointer)] = values[random() % std::size(values)];
      const TemporaryTokenizer written(changed.dump());
      try {
        written.load().encode("a <|endoftext|> b 123 the");
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::data) << pointer;
        EXPECT_THAT(error.what(), HasSubstr(written.folder().string())) << pointer;
      }
    }
  }
}

}  // namespace
}  // namespace medfuse::data
