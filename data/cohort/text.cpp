#include "data/cohort/text.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace medfuse::data {

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > ' ' && byte != 0x7f) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string titled(const std::string& name, const std::string& text) {
  std::string title = name;
  if (!title.empty() && title[0] >= 'a' && title[0] <= 'z') title[0] = static_cast<char>(title[0] - 'a' + 'A');
  return title + ": " + text;
}

std::string abnormal_lab(const std::string& name, const std::string& result, const std::string& unit) {
  return unit.empty() ? name + " " + result : name + " " + result + " " + unit;
}

std::string abnormal_labs(const std::vector<std::string>& results) {
  std::string text = "Abnormal labs: ";
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (i > 0) text += "; ";
    text += results[i];
  }
  return text + ".";
}

std::vector<std::size_t> shares(const std::vector<std::size_t>& lengths, std::size_t budget) {
  std::vector<std::size_t> order(lengths.size()), kept(lengths.size(), 0);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] < lengths[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    kept[order[i]] = std::min(lengths[order[i]], budget / (order.size() - i));
    budget -= kept[order[i]];
  }
  return kept;
}

Tokens tokens_of(const std::vector<std::string>& parts,
                 const std::function<std::vector<std::int32_t>(std::string_view, bool)>& encode,
                 std::int64_t max_tokens) {
  // The special tokens, and where the text goes among them.
  const std::vector<std::int32_t> bare = encode("a", false), dressed = encode("a", true);
  const auto at = std::search(dressed.begin(), dressed.end(), bare.begin(), bare.end());
  const auto before = static_cast<std::size_t>(at - dressed.begin());
  if (bare.empty() || at == dressed.end() || before + bare.size() > dressed.size()) {
    data_error("the tokenizer changes a text's tokens when it adds special ones: use another tokenizer");
  }
  const std::size_t specials = dressed.size() - bare.size();
  if (static_cast<std::size_t>(max_tokens) <= specials) {
    usage_error("text.max_tokens = {}: leaves no room beside the tokenizer's {} special tokens", max_tokens, specials);
  }
  const std::size_t budget = static_cast<std::size_t>(max_tokens) - specials;
  // A line feed in front of a letter ends a pre-token, so lines encoded one by one give the tokens of the whole text.
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    ids.push_back(encode(i + 1 < parts.size() ? parts[i] + "\n" : parts[i], false));
    lengths.push_back(ids.back().size());
  }
  Tokens out;
  out.truncated = std::accumulate(lengths.begin(), lengths.end(), std::size_t{0}) > budget;
  const std::vector<std::size_t> kept = shares(lengths, budget);
  out.ids.assign(dressed.begin(), at);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    out.ids.insert(out.ids.end(), ids[i].begin(), ids[i].begin() + static_cast<std::ptrdiff_t>(kept[i]));
  }
  out.ids.insert(out.ids.end(), at + static_cast<std::ptrdiff_t>(bare.size()), dressed.end());
  return out;
}

}  // namespace medfuse::data
