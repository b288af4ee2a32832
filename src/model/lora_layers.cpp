#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "base/error.h"
#include "src/model/lora.h"

namespace medfuse::model {

namespace {

constexpr std::array<std::string_view, 7> all_targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                         "gate_proj", "up_proj", "down_proj"};

/// The whole text as a number that is not negative; -1 otherwise.
std::int64_t number(std::string_view text) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0 && !text.empty() ? value : -1;
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

}  // namespace

std::vector<std::int64_t> parse_lora_layers(const std::string& layers, std::int64_t count) {
  const auto fail = [&](const std::string& what) {
    usage_error("text.lora_layers: '{}' {}; write all, last:N or a list such as 0-3,28 (blocks 0 to {})", layers, what,
                count - 1);
  };
  std::set<std::int64_t> chosen;
  const auto add = [&](std::int64_t first, std::int64_t last) {
    if (last >= count) fail(fmt::format("names block {}, but the model has {}", last, count));
    for (std::int64_t i = first; i <= last; ++i) chosen.insert(i);
  };
  const std::string_view text = trim(layers);
  if (text == "all") {
    add(0, count - 1);
  } else if (text.starts_with("last:")) {
    const std::int64_t n = number(trim(text.substr(5)));
    if (n < 1) fail("has no number behind last:");
    if (n > count) fail(fmt::format("asks for {} blocks, but the model has {}", n, count));
    add(count - n, count - 1);
  } else {
    std::size_t position = 0;
    while (position <= text.size()) {
      const std::size_t comma = std::min(text.find(',', position), text.size());
      const std::string_view part = trim(text.substr(position, comma - position));
      const std::size_t dash = part.find('-');
      const std::int64_t first = number(trim(part.substr(0, dash)));
      const std::int64_t last = dash == std::string_view::npos ? first : number(trim(part.substr(dash + 1)));
      if (first < 0 || last < first) fail("is not understood");
      add(first, last);
      position = comma + 1;
    }
  }
  return {chosen.begin(), chosen.end()};
}

void check_lora_targets(const std::vector<std::string>& targets) {
  std::set<std::string> seen;
  for (const std::string& target : targets) {
    if (std::find(all_targets.begin(), all_targets.end(), target) == all_targets.end()) {
      usage_error("text.lora_targets: '{}' is no projection; choose among {}", target, fmt::join(all_targets, ", "));
    }
    if (!seen.insert(target).second) usage_error("text.lora_targets: '{}' is named twice; name it once", target);
  }
}

}  // namespace medfuse::model
