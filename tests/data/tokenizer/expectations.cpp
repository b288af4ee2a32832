#include "tests/data/tokenizer/expectations.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/files.h"

namespace medfuse::data {
namespace {

const std::filesystem::path fixtures = "tests/fixtures/tokenizer";

}  // namespace

const nlohmann::json& expected() {
  static const nlohmann::json document = nlohmann::json::parse(read_file(fixtures / "expected.json"));
  return document;
}

const std::vector<std::string>& nasty_texts() {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> made;
    for (const auto& entry : expected().at("texts")) {
      const auto hex = entry.at(0).get<std::string>();
      std::string unit, text;
      for (std::size_t i = 0; i < hex.size(); i += 2) {
        unit += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
      }
      for (int i = 0; i < entry.at(1).get<int>(); ++i) text += unit;
      made.push_back(text);
    }
    return made;
  }();
  return texts;
}

std::filesystem::path base_folder(const std::string& name) {
  if (name != "smollm2") return fixtures / name;
  const char* chosen = std::getenv("MEDFUSE_SMOLLM2");
  const std::filesystem::path folder = chosen ? chosen : ".deps/weights/smollm2-135m";
  return std::filesystem::exists(folder / "tokenizer.json") ? folder : std::filesystem::path();
}

nlohmann::json base_document(const std::string& name) {
  return nlohmann::json::parse(read_file(base_folder(name) / "tokenizer.json"));
}

TemporaryTokenizer::TemporaryTokenizer(const std::string& content) {
  std::string name = (std::filesystem::temp_directory_path() / "medfuse_tokenizer_XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  folder_ = name;
  std::ofstream(file(), std::ios::binary) << content;
}

TemporaryTokenizer::~TemporaryTokenizer() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Digest::add_id(std::uint32_t id) {
  std::uint64_t mixed = place_++ << 32 | id;
  mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9ULL;
  mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBULL;
  sum_ += mixed ^ mixed >> 31;
}

void Digest::add(const std::vector<std::int32_t>& ids) {
  for (const std::int32_t id : ids) add_id(static_cast<std::uint32_t>(id));
  add_id(0xFFFFFFFF);
  count_ += ids.size();
}

std::string Digest::hex() const { return fmt::format("{:016x}", sum_); }

std::string hex_of(const std::string& bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

}  // namespace medfuse::data
