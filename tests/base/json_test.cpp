// JSON from files that may be hostile: what cannot be handled safely later is refused here.
#include "base/json.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "base/checksum.h"

namespace medfuse {
namespace {

std::string nested(int levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST(Json, ReadsWhatIsValid) {
  const auto value = parse_json(R"({"a": [1, {"b": null}], "c": "[[["})");
  EXPECT_EQ(value.at("a").at(1), nlohmann::json({{"b", nullptr}}));
  EXPECT_EQ(value.at("c"), "[[[");
  EXPECT_EQ(parse_json(nested(100)).dump(), nested(100));
}

TEST(Json, DiscardsWhatIsNot) {
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "1e400", "\"\xff\"", "[] []"}) {
    EXPECT_TRUE(parse_json(text).is_discarded()) << text;
  }
}

TEST(Json, DiscardsWhatIsNestedTooDeepToBeCopied) {
  for (const int levels : {102, 200'000}) {
    EXPECT_TRUE(parse_json(nested(levels)).is_discarded());
    EXPECT_TRUE(parse_json("{\"a\": 1, \"b\": " + nested(levels) + ", \"c\": 2}").is_discarded());
  }
}

TEST(Json, SealedObjectsReadAsWhatTheyWere) {
  const nlohmann::json object = {{"b", {1, 2}}, {"a", "x"}};
  const std::string text = sealed(object);
  EXPECT_EQ(check_seal(text), Seal::sound);
  nlohmann::json read = parse_json(text);
  read.erase("xxh64");
  EXPECT_EQ(read, object);
  EXPECT_THROW(sealed(nlohmann::json::object()), std::logic_error);
  EXPECT_THROW(sealed({1, 2}), std::logic_error);
}

}  // namespace
}  // namespace medfuse
