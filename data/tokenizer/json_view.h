// A strict reader of tokenizer.json: it knows where it stands, so that errors name the file and the key.
#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

namespace medfuse::data {

/// One value of a JSON document with its place, e.g. "model.merges[12]". Refers to the document, which must outlive it.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, const std::filesystem::path& file, std::string place = "");

  /// Throws Error(data): "<file>: <place> <what>", on one line.
  [[noreturn]] void fail(std::string_view what) const;

  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_object() const { return value_->is_object(); }
  bool is_array() const { return value_->is_array(); }
  bool has(const std::string& key) const;  ///< Present and not null; this value must be an object.
  std::size_t size() const;

  JsonView at(const std::string& key) const;
  JsonView at(std::size_t index) const;

  const std::string& text() const;
  bool boolean() const;
  /// A whole number from 0 to `largest`.
  std::int64_t number(std::int64_t largest) const;

  bool boolean_or(const std::string& key, bool otherwise) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;

  /// Throws for a key that is none of `known`: what it asks for would go unheard.
  void allow(std::initializer_list<std::string_view> known) const;

  const nlohmann::json& json() const { return *value_; }
  const std::filesystem::path& file() const { return *file_; }
  const std::string& place() const { return place_; }

 private:
  const nlohmann::json* value_;
  const std::filesystem::path* file_;
  std::string place_;
};

/// Parses `content` of `file`. Throws Error(data) naming the file and the byte.
nlohmann::json parse_json(const std::string& content, const std::filesystem::path& file);

/// `text` shortened and with control characters masked, for a message of one line.
std::string in_quotes(std::string_view text);

}  // namespace medfuse::data
