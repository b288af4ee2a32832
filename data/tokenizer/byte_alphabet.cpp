#include "data/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

constexpr std::uint32_t alphabet_end = 0x100 + 68;  // 68 bytes have no printable Latin-1 character of their own.

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, alphabet_end> bytes;

  Alphabet() {
    bytes.fill(-1);
    std::uint32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const std::uint32_t code = printable ? static_cast<std::uint32_t>(byte) : next++;
      append_utf8(characters[static_cast<std::size_t>(byte)], code);
      bytes[code] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

}  // namespace

const std::string& byte_character(unsigned char byte) { return alphabet().characters[byte]; }

std::optional<std::string> bytes_of_token(std::string_view token) {
  if (valid_utf8_prefix(token) != token.size()) return std::nullopt;
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint code = code_point_at(token, at);
    if (code.value >= alphabet_end || alphabet().bytes[code.value] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet().bytes[code.value]);
    at += code.length;
  }
  return bytes;
}

}  // namespace medfuse::data
