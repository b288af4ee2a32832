// tokenizer.json, with tokenizer_config.json behind a line of its own; then a text is encoded and decoded.
#include "data/tokenizer/tokenizer.h"
#include "tests/fuzz/input.h"

namespace {

constexpr std::string_view config_follows = "\n%%%%\n";
constexpr std::string_view text =
    "Chief complaint:\r\n  It's 12.5 mmol/L -- \xc3\xa9\xcc\x81 \xe4\xb8\xad <|endoftext|>\t\t\xf0\x9f\x98\x80 \xff 007   aaaaaaaaaaaaaaaaaaaaaaaa";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  std::string_view document = fuzz::text_of(data, size), config = "{}";
  if (const auto at = document.find(config_follows); at != std::string_view::npos) {
    config = document.substr(at + config_follows.size());
    document = document.substr(0, at);
  }
  fuzz::write_input("tokenizer.json", document);
  fuzz::write_input("tokenizer_config.json", config);
  fuzz::allow_refusal([] {
    const auto tokenizer = data::Tokenizer::load(fuzz::folder().path());
    const auto vocabulary = tokenizer.vocabulary();
    const auto ids = tokenizer.encode(text);
    for (const auto id : ids) fuzz::require(id >= 0 && id < vocabulary, "ids lie below vocabulary()");
    tokenizer.decode(ids, false);
    fuzz::require(tokenizer.encode_at_most(text, 1000, data::Tokenizer::Side::left).size() <= 1000, "at most 1000 tokens");
  });
  return 0;
}
