#include "src/weights/adapted_encoder.h"

#include <array>
#include <charconv>

#include "base/files.h"

namespace medfuse::weights {

namespace {

constexpr std::array companions = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json",     "merges.txt",            "chat_template.jinja",     "chat_template.json", "LICENSE",
    "LICENSE.txt",    "LICENSE.md",            "NOTICE",                  "USE_POLICY.md"};

}  // namespace

std::optional<std::int64_t> block_of(const std::string& name) {
  constexpr std::string_view word = "layers.";
  const std::size_t begin = name.starts_with("model.") ? 6 : 0;
  if (name.compare(begin, word.size(), word) != 0) return std::nullopt;
  const char* const first = name.data() + begin + word.size();
  std::int64_t block = 0;
  const auto [end, error] = std::from_chars(first, name.data() + name.size(), block);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.' || block < 0) return std::nullopt;
  return block;
}

void copy_companions(const AdaptedEncoder& encoder, const std::filesystem::path& folder, bool generation) {
  const auto copy = [&](const char* name) {
    std::error_code ignored;
    if (std::filesystem::exists(encoder.base / name, ignored)) {
      write_file_atomically(folder / name, read_file(encoder.base / name));
    }
  };
  for (const char* name : companions) copy(name);
  if (generation) copy("generation_config.json");
}

}  // namespace medfuse::weights
