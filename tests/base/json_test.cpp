// JSON from files that may be hostile: what cannot be handled safely later is refused here.
#include "base/json.h"

#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace medfuse
