#include "base/json.h"

#include <stdexcept>

#include "base/checksum.h"

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

std::string sealed(const nlohmann::json& object) {
  if (!object.is_object() || object.empty()) throw std::logic_error("only an object with members can be sealed");
  const std::string text = object.dump(1) + "\n";
  return seal(std::string_view(text).substr(std::string_view("{\n").size()));
}

}  // namespace medfuse
