// Text to token ids, exactly as the Hugging Face `tokenizers` package does it from a tokenizer.json of byte-level BPE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace medfuse::data {

/// Byte-level BPE of the SmolLM2, Llama 3 and GPT-2 kinds. Immutable once loaded: every member may be called from
/// several threads at once. Copies share the loaded tables.
class Tokenizer {
 public:
  /// Reads `path`: a tokenizer.json, or a folder that holds one. From a folder, tokenizer_config.json (if it is there)
  /// names the padding and end tokens. Throws Error(data) naming the file and the key for anything that is broken or
  /// that this class would not reproduce exactly.
  static Tokenizer load(const std::filesystem::path& path);

  /// Ids of `text`. Each broken UTF-8 sequence counts as one U+FFFD, as in Python's bytes.decode("utf-8", "replace").
  /// With `add_special_tokens` the file's post-processor adds its tokens (Llama 3: <|begin_of_text|> in front). The
  /// file's own "truncation", where there is one, applies; its "padding" does not: that belongs to batches.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens = true) const;

  enum class Side { right, left };

  /// At most `max_tokens` ids, in place of the file's own truncation: text ids are dropped at `side` (right: the end is
  /// lost), the post-processor's tokens are kept. Throws Error(usage) if `max_tokens` leaves no room for those.
  std::vector<std::int32_t> encode_at_most(std::string_view text, std::size_t max_tokens, Side side = Side::right,
                                           bool add_special_tokens = true) const;

  /// Text of `ids`, special tokens left out unless asked for; broken UTF-8 becomes U+FFFD. Unknown ids give nothing.
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens = true) const;

  /// XXH64 of the tokenizer.json as 16 hexadecimal digits: packed data carry it.
  const std::string& fingerprint() const;

  /// 1 + the largest id (at most the rows of the model's embedding).
  std::int64_t vocabulary() const;

  /// Id of a token by its exact content in the vocabulary or among the added tokens.
  std::optional<std::int32_t> find(std::string_view token) const;

  /// Id for filling up batches: the file's "padding", else tokenizer_config.json's pad_token.
  std::optional<std::int32_t> pad_id() const;
  /// Id of the end of a text: tokenizer_config.json's eos_token.
  std::optional<std::int32_t> eos_id() const;

 private:
  struct Parts;
  explicit Tokenizer(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace medfuse::data
