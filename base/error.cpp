#include "base/error.h"

namespace medfuse {

namespace {

/// Part of a message may be from a damaged or hostile file; it stays one line all the same, and sends no commands to a terminal.
std::string one_line(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = ' ';
  }
  return text;
}

}  // namespace

Error::Error(ExitCode code, const std::string& message) : std::runtime_error(one_line(message)), code_(code) {}

}  // namespace medfuse
