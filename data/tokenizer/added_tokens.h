// Tokens that are found in the text before any normalizing or cutting, such as <|begin_of_text|>.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/tokenizer/json_view.h"
#include "data/tokenizer/normalizer.h"

namespace medfuse::data {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  ///< Only where no letter or digit touches it.
  bool lstrip = false;       ///< Takes the white space before it.
  bool rstrip = false;       ///< Takes the white space behind it.
  bool normalized = true;    ///< Looked for in the normalized text.
  bool special = false;      ///< Left out when decoding.
};

/// Finds the leftmost, there the longest, of a set of tokens.
class TokenFinder {
 public:
  /// Looks for `content` as the token; the first token of equal content counts.
  void add(const std::string& content, const AddedToken& token);

  /// Calls `piece` for each piece of `text` in order: with an id, or with the text between two tokens.
  void split(std::string_view text,
             const std::function<void(std::optional<std::int32_t>, std::string_view)>& piece) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t at, std::size_t& length) const;

  std::array<bool, 256> starts_{};
  std::vector<std::size_t> lengths_;  // Longest first.
  std::unordered_map<std::string, AddedToken> tokens_;
};

/// The "added_tokens" of a file.
class AddedTokens {
 public:
  /// `find_id` and `vocabulary_size` are the model's. Throws Error(data) naming the key of a token whose id is another
  /// one than the `tokenizers` package would give it.
  AddedTokens(const JsonView& json, const Normalizer& normalizer,
              const std::function<std::optional<std::int32_t>(const std::string&)>& find_id,
              std::size_t vocabulary_size);

  const TokenFinder& before_normalizing() const { return before_; }
  const TokenFinder& after_normalizing() const { return after_; }

  const std::vector<AddedToken>& all() const { return tokens_; }
  std::optional<std::int32_t> find(const std::string& content) const;
  const std::string* content(std::int32_t id) const;
  bool is_special(const std::string& content) const { return special_.count(content) > 0; }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::int32_t, std::string> contents_;
  std::unordered_set<std::string> special_;
  TokenFinder before_, after_;
};

}  // namespace medfuse::data
