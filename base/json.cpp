#include "base/json.h"

namespace medfuse {

namespace {

constexpr int deepest = 100;

}  // namespace

nlohmann::json parse_json(std::string_view text) {
  bool too_deep = false;
  const auto look = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > deepest;
    return !too_deep;  // false: not kept
  };
  nlohmann::json value = nlohmann::json::parse(text, look, false);
  return too_deep ? nlohmann::json(nlohmann::json::value_t::discarded) : value;
}

}  // namespace medfuse
