#include "data/tokenizer/json_view.h"

#include <algorithm>

#include "base/error.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {

JsonView::JsonView(const nlohmann::json& value, const std::filesystem::path& file, std::string place)
    : value_(&value), file_(&file), place_(std::move(place)) {}

void JsonView::fail(std::string_view what) const {
  data_error("{}: {} {}", file_->string(), place_.empty() ? "the document" : place_, what);
}

bool JsonView::has(const std::string& key) const {
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

std::size_t JsonView::size() const {
  if (!value_->is_array()) fail("must be a list");
  return value_->size();
}

JsonView JsonView::at(const std::string& key) const {
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(key);
  const std::string place = place_.empty() ? key : place_ + "." + key;
  if (found == value_->end()) data_error("{}: {} is missing", file_->string(), place);
  return {*found, *file_, place};
}

JsonView JsonView::at(std::size_t index) const {
  if (index >= size()) fail(fmt::format("has only {} entries", size()));
  return {(*value_)[index], *file_, fmt::format("{}[{}]", place_, index)};
}

const std::string& JsonView::text() const {
  if (!value_->is_string()) fail("must be a string");
  return value_->get_ref<const std::string&>();
}

bool JsonView::boolean() const {
  if (!value_->is_boolean()) fail("must be true or false");
  return value_->get<bool>();
}

std::int64_t JsonView::number(std::int64_t largest) const {
  // The library keeps what is written without sign, fraction and exponent as unsigned.
  if (!value_->is_number_unsigned()) fail("must be a whole number from 0 on");
  const auto number = value_->get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(largest)) fail(fmt::format("is {}, more than {}", number, largest));
  return static_cast<std::int64_t>(number);
}

bool JsonView::boolean_or(const std::string& key, bool otherwise) const {
  return has(key) ? at(key).boolean() : otherwise;
}

std::string JsonView::text_or(const std::string& key, const std::string& otherwise) const {
  return has(key) ? at(key).text() : otherwise;
}

void JsonView::allow(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) fail("must be an object");
  for (const auto& [key, value] : value_->items()) {
    if (!value.is_null() && std::find(known.begin(), known.end(), key) == known.end()) {
      fail(fmt::format("has the unknown key {}", in_quotes(key)));
    }
  }
}

nlohmann::json parse_json(const std::string& content, const std::filesystem::path& file) {
  try {
    return nlohmann::json::parse(content);
  } catch (const nlohmann::json::parse_error& error) {
    data_error("{}: not valid JSON near byte {}: fetch the file again", file.string(), error.byte);
  } catch (const nlohmann::json::exception&) {  // A number beyond double's range.
    data_error("{}: not valid JSON: fetch the file again", file.string());
  }
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 60;
  std::string shown = "\"";
  for (const char c : repair_utf8(text.substr(0, longest))) {
    shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return shown + (text.size() > longest ? "...\"" : "\"");
}

}  // namespace medfuse::data
