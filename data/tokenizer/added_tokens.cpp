#include "data/tokenizer/added_tokens.h"

#include <algorithm>

#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

constexpr std::int64_t largest_id = (std::int64_t{1} << 31) - 2;

bool word_before(std::string_view text, std::size_t at) {
  return at > 0 && is_word(code_point_before(text, at).value);
}

bool word_after(std::string_view text, std::size_t at) {
  return at < text.size() && is_word(code_point_at(text, at).value);
}

std::size_t begin_of_space_before(std::string_view text, std::size_t at) {
  while (at > 0) {
    const CodePoint code = code_point_before(text, at);
    if (!is_space(code.value)) break;
    at -= code.length;
  }
  return at;
}

std::size_t end_of_space_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint code = code_point_at(text, at);
    if (!is_space(code.value)) break;
    at += code.length;
  }
  return at;
}

AddedToken read_token(const JsonView& json) {
  json.allow({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.id = static_cast<std::int32_t>(json.at("id").number(largest_id));
  token.content = json.at("content").text();
  token.single_word = json.at("single_word").boolean();
  token.lstrip = json.at("lstrip").boolean();
  token.rstrip = json.at("rstrip").boolean();
  token.normalized = json.at("normalized").boolean();
  token.special = json.at("special").boolean();
  if (token.content.empty()) json.at("content").fail("is empty");
  return token;
}

}  // namespace

void TokenFinder::add(const std::string& content, const AddedToken& token) {
  if (content.empty() || !tokens_.emplace(content, token).second) return;
  starts_[static_cast<unsigned char>(content[0])] = true;
  if (std::find(lengths_.begin(), lengths_.end(), content.size()) == lengths_.end()) {
    lengths_.push_back(content.size());
    std::sort(lengths_.rbegin(), lengths_.rend());
  }
}

const AddedToken* TokenFinder::longest_at(std::string_view text, std::size_t at, std::size_t& length) const {
  std::string candidate;
  for (const std::size_t size : lengths_) {
    if (size > text.size() - at) continue;
    candidate.assign(text.substr(at, size));
    const auto found = tokens_.find(candidate);
    if (found != tokens_.end()) {
      length = size;
      return &found->second;
    }
  }
  return nullptr;
}

void TokenFinder::split(std::string_view text,
                        const std::function<void(std::optional<std::int32_t>, std::string_view)>& piece) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 0;
    const AddedToken* token =
        starts_[static_cast<unsigned char>(text[at])] ? longest_at(text, at, length) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + length;
    at = end;
    if (token->single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token->lstrip) begin = std::max(begin_of_space_before(text, begin), done);
    if (token->rstrip) end = end_of_space_after(text, end);
    if (done < begin) piece(std::nullopt, text.substr(done, begin - done));
    piece(token->id, text.substr(begin, end - begin));
    done = end;
  }
  if (done < text.size()) piece(std::nullopt, text.substr(done));
}

AddedTokens::AddedTokens(const JsonView& json, const Normalizer& normalizer,
                         const std::function<std::optional<std::int32_t>(const std::string&)>& find_id,
                         std::size_t vocabulary_size) {
  if (json.is_null()) return;
  // A token outside of the model's vocabulary gets the next free id, whatever the file says.
  auto next = static_cast<std::int64_t>(vocabulary_size);
  for (std::size_t i = 0; i < json.size(); ++i) {
    const JsonView entry = json.at(i);
    AddedToken token = read_token(entry);
    const auto known = find_id(token.content);
    const std::int64_t id = known ? *known : next;
    if (id != token.id) {
      entry.at("id").fail(
          fmt::format("is {} for {}, which the vocabulary makes {}", token.id, in_quotes(token.content), id));
    }
    if (!ids_.emplace(token.content, token.id).second) entry.at("content").fail("names a token twice");
    next = std::max(next, id + 1);
    contents_.emplace(token.id, token.content);
    if (token.special) special_.insert(token.content);
    (token.normalized ? after_ : before_)
        .add(token.normalized ? normalizer.apply(token.content) : token.content, token);
    tokens_.push_back(std::move(token));
  }
}

std::optional<std::int32_t> AddedTokens::find(const std::string& content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* AddedTokens::content(std::int32_t id) const {
  const auto found = contents_.find(id);
  return found == contents_.end() ? nullptr : &found->second;
}

}  // namespace medfuse::data
