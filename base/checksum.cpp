#include "base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

namespace medfuse {
namespace {

constexpr std::string_view before = "{\"xxh64\": \"", behind = "\",\n";
constexpr std::size_t digits = 16;
static_assert(before.size() + digits + behind.size() == seal_bytes);

}  // namespace

std::uint64_t checksum(std::string_view text) { return XXH64(text.data(), text.size(), 0); }

std::string hex(std::uint64_t checksum) { return fmt::format("{:016x}", checksum); }

std::optional<std::uint64_t> from_hex(std::string_view text) {
  std::uint64_t value = 0;
  if (text.size() != digits || text.find_first_of("ABCDEF") != text.npos) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string seal(std::string_view rest) {
  return fmt::format("{}{}{}{}", before, hex(checksum(rest)), behind, rest);
}

Seal check_seal(std::string_view text) {
  if (!text.starts_with(before) || text.size() < seal_bytes || text.substr(before.size() + digits, behind.size()) != behind) {
    return Seal::missing;
  }
  const bool fits = from_hex(text.substr(before.size(), digits)) == checksum(text.substr(seal_bytes));
  return fits ? Seal::sound : Seal::broken;
}

}  // namespace medfuse
