#include "data/tokenizer/byte_pairs.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "data/tokenizer/byte_alphabet.h"

namespace medfuse::data {

void BytePairs::MergeTable::reserve(std::size_t count) {
  std::size_t size = 16;
  while (size < 2 * count) size *= 2;
  slots_.assign(size, {});
}

std::size_t BytePairs::MergeTable::slot_of(std::int32_t left, std::int32_t right) const {
  const std::uint64_t key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                            static_cast<std::uint32_t>(right);
  const std::uint64_t mixed = (key ^ key >> 29) * 0x9E3779B97F4A7C15ULL;
  std::size_t at = static_cast<std::size_t>(mixed >> 32) & (slots_.size() - 1);
  while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

void BytePairs::MergeTable::set(std::int32_t left, std::int32_t right, Merge merge) {
  slots_[slot_of(left, right)] = {left, right, merge};
}

BytePairs::Merge BytePairs::MergeTable::find(std::int32_t left, std::int32_t right) const {
  return slots_[slot_of(left, right)].merge;
}

namespace {

// A merge that may be due: those of lower rank first, among equals the leftmost.
struct Due {
  std::int32_t rank, position, id;
  bool operator>(const Due& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

struct Symbol {
  std::int32_t id, previous, next;  // next and previous: -1 at the ends; id -1: merged into another one.
};

}  // namespace

// The same order of merges as in the `tokenizers` package, its treatment of outdated queue entries included: an entry
// stays good if the pair now at its position gives the same token.
void BytePairs::merge(std::vector<std::int32_t>& symbols) const {
  const auto count = static_cast<std::int32_t>(symbols.size());
  std::vector<Symbol> chain(symbols.size());
  std::priority_queue<Due, std::vector<Due>, std::greater<>> queue;
  const auto offer = [&](std::int32_t position) {
    const Symbol& symbol = chain[static_cast<std::size_t>(position)];
    if (symbol.next < 0) return;
    const Merge merge = merges_.find(symbol.id, chain[static_cast<std::size_t>(symbol.next)].id);
    if (merge.rank >= 0) queue.push({merge.rank, position, merge.id});
  };
  for (std::int32_t i = 0; i < count; ++i) {
    chain[static_cast<std::size_t>(i)] = {symbols[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  }
  for (std::int32_t i = 0; i + 1 < count; ++i) offer(i);

  while (!queue.empty()) {
    const Due due = queue.top();
    queue.pop();
    Symbol& symbol = chain[static_cast<std::size_t>(due.position)];
    if (symbol.id < 0 || symbol.next < 0) continue;
    Symbol& right = chain[static_cast<std::size_t>(symbol.next)];
    const Merge merge = merges_.find(symbol.id, right.id);
    if (merge.rank < 0 || merge.id != due.id) continue;
    symbol.id = due.id;
    symbol.next = right.next;
    right.id = -1;
    if (symbol.next >= 0) chain[static_cast<std::size_t>(symbol.next)].previous = due.position;
    if (symbol.previous >= 0) offer(symbol.previous);
    offer(due.position);
  }
  symbols.clear();
  for (std::int32_t i = 0; i >= 0; i = chain[static_cast<std::size_t>(i)].next) {
    symbols.push_back(chain[static_cast<std::size_t>(i)].id);
  }
}

std::vector<std::int32_t> BytePairs::symbols_of(std::string_view word) const {
  std::vector<std::int32_t> symbols;
  symbols.reserve(word.size());
  bool after_unknown = false;
  for (const char c : word) {
    const std::int32_t id = bytes_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      symbols.push_back(id);
      after_unknown = false;
    } else if (unknown_) {
      if (!after_unknown || !fuse_unknown_) symbols.push_back(*unknown_);
      after_unknown = true;
    }
  }
  return symbols;
}

void BytePairs::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_) {
    const auto whole = words_.find(std::string(word));
    if (whole != words_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<std::int32_t> symbols = symbols_of(word);
  if (symbols.size() > 1) merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::optional<std::int32_t> BytePairs::find(const std::string& token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* BytePairs::token(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

BytePairs::BytePairs(const JsonView& json) {
  json.allow({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges", "vocab", "merges"});
  const std::string type = json.text_or("type", "BPE");
  if (type != "BPE") json.at("type").fail(fmt::format("{} is not supported (BPE is)", in_quotes(type)));
  if (json.has("dropout") && json.at("dropout").json() != 0.0) {
    json.at("dropout").fail("is set: merging at random is not supported");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json.text_or(affix, "").empty()) json.at(affix).fail("is set: not supported");
  }
  if (json.boolean_or("byte_fallback", false)) json.at("byte_fallback").fail("is true: not supported");
  fuse_unknown_ = json.boolean_or("fuse_unk", false);
  ignore_merges_ = json.boolean_or("ignore_merges", false);

  read_vocabulary(json.at("vocab"));
  read_merges(json.at("merges"));
  if (json.has("unk_token")) {
    unknown_ = find(json.at("unk_token").text());
    if (!unknown_) json.at("unk_token").fail("is not in the vocabulary");
  }
}

void BytePairs::read_vocabulary(const JsonView& json) {
  constexpr std::int64_t largest = (std::int64_t{1} << 31) - 2;
  if (!json.is_object() || json.json().empty()) json.fail("must be an object that gives each token its id");
  ids_.reserve(json.json().size());
  for (const auto& [token, id] : json.json().items()) {
    const JsonView entry(id, json.file(), json.place() + "[" + in_quotes(token) + "]");
    const auto number = static_cast<std::int32_t>(entry.number(largest));
    const auto place = ids_.emplace(token, number).first;
    if (!tokens_.emplace(number, &place->first).second) {
      entry.fail(fmt::format("has the id {} of another token", number));
    }
    largest_id_ = std::max(largest_id_, number);
    if (ignore_merges_) {
      if (auto bytes = bytes_of_token(token)) words_.emplace(std::move(*bytes), number);
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    bytes_[static_cast<std::size_t>(byte)] = find(byte_character(static_cast<unsigned char>(byte))).value_or(-1);
  }
}

void BytePairs::read_merges(const JsonView& json) {
  merges_.reserve(json.size());
  std::int32_t rank = 0;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const JsonView entry = json.at(i);
    std::string left, right;
    if (entry.is_array()) {
      if (entry.size() != 2) entry.fail("must hold two tokens");
      left = entry.at(std::size_t{0}).text();
      right = entry.at(std::size_t{1}).text();
    } else {
      const std::string& line = entry.text();
      if (line.starts_with("#version")) continue;
      const std::size_t blank = line.find(' ');
      if (blank == std::string::npos || line.find(' ', blank + 1) != std::string::npos) {
        entry.fail("must be two tokens with one blank between them");
      }
      left = line.substr(0, blank);
      right = line.substr(blank + 1);
    }
    const auto left_id = find(left), right_id = find(right), merged = find(left + right);
    if (!left_id || !right_id || !merged) {
      entry.fail(fmt::format("needs {}, which the vocabulary lacks",
                             in_quotes(!left_id ? left : !right_id ? right : left + right)));
    }
    merges_.set(*left_id, *right_id, {rank++, *merged});
  }
}

}  // namespace medfuse::data
