#include "data/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <new>

#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

std::string composed(std::string_view text) {
  if (text.empty()) return "";
  utf8proc_uint8_t* buffer = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &buffer,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) throw std::bad_alloc();  // The text is valid UTF-8: nothing else is left to go wrong.
  std::string result(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(size));
  std::free(buffer);
  return result;
}

}  // namespace

Normalizer::Normalizer(const JsonView& json) {
  if (!json.is_null()) read(json, 0);
}

void Normalizer::read(const JsonView& json, int depth) {
  const std::string& type = json.at("type").text();
  if (type == "NFC") {
    json.allow({"type"});
    compose_ = true;
  } else if (type == "Sequence" && depth < 8) {
    json.allow({"type", "normalizers"});
    const JsonView steps = json.at("normalizers");
    for (std::size_t i = 0; i < steps.size(); ++i) read(steps.at(i), depth + 1);
  } else {
    json.at("type").fail(fmt::format("{} is not supported (NFC and Sequence are)", in_quotes(type)));
  }
}

std::string Normalizer::apply(std::string_view text) const {
  if (!compose_) return std::string(text);
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = code_point_at(text, at);
    if (!known_to_nfc(code.value)) {
      result += composed(text.substr(done, at - done));
      result += text.substr(at, code.length);
      done = at + code.length;
    }
    at += code.length;
  }
  return result + composed(text.substr(done));
}

}  // namespace medfuse::data
