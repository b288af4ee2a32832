// What the `tokenizers` package gives (tests/fixtures/tokenizer/expected.json), and the folders it was read from.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace medfuse::data {

const nlohmann::json& expected();

/// The texts of expected.json, in order.
const std::vector<std::string>& nasty_texts();

/// Folder of a base tokenizer; empty for smollm2 where its weights were not converted.
std::filesystem::path base_folder(const std::string& name);

/// tokenizer.json of a base, parsed.
nlohmann::json base_document(const std::string& name);

/// Writes `document` as a tokenizer.json into a temporary folder that lives as long as the object.
class TemporaryTokenizer {
 public:
  explicit TemporaryTokenizer(const std::string& content);
  ~TemporaryTokenizer();
  TemporaryTokenizer(const TemporaryTokenizer&) = delete;
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path file() const { return folder_ / "tokenizer.json"; }
  Tokenizer load() const { return Tokenizer::load(folder_); }

 private:
  std::filesystem::path folder_;
};

/// The digest that make.py describes.
class Digest {
 public:
  void add(const std::vector<std::int32_t>& ids);
  std::size_t count() const { return count_; }
  std::string hex() const;
  /// Its last eight digits, of which lists of digests are made.
  std::string end() const { return hex().substr(8); }

 private:
  void add_id(std::uint32_t id);
  std::uint64_t place_ = 0, sum_ = 0;
  std::size_t count_ = 0;
};

std::string hex_of(const std::string& bytes);

}  // namespace medfuse::data
