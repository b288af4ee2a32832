// What the fuzz targets share: an input as a file, and what its reader may do with it.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/checksum.h"
#include "base/error.h"
#include "tests/base/scratch.h"

/// Each target defines it; libFuzzer or replay.cpp calls it with one input after the other.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace medfuse::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The folder of this process, removed at its end.
inline const testing::Scratch& folder() {
  static const testing::Scratch scratch;
  return scratch;
}

/// Not our own write_file_atomically(): its syncs would be most of the time.
inline std::filesystem::path write_input(const std::string& name, std::string_view content) {
  const std::filesystem::path path = folder() / name;
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(content.data(), static_cast<std::streamsize>(content.size()));
  return path;
}

/// A sealed JSON file with its checksum put right; anything else as it is.
inline std::string sealed_anew(std::string_view text) {
  return check_seal(text) == Seal::missing ? std::string(text) : seal(text.substr(seal_bytes));
}

/// Runs `read`. One clear line is the only way in which it may refuse an input; any other exception ends the process.
template <class F>
void allow_refusal(F read) {
  try {
    read();
  } catch (const Error& error) {
    const std::string message = error.what();
    const bool known = error.code() == ExitCode::usage || error.code() == ExitCode::data;
    const bool one_line = std::none_of(message.begin(), message.end(), [](unsigned char c) { return c < 0x20; });
    if (known && !message.empty() && one_line) return;
    std::fprintf(stderr, "not one line, or another exit code than 2 and 3: %d, '%s'\n", static_cast<int>(error.code()),
                 message.c_str());
    std::abort();
  }
}

/// What must hold for every input that is read.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace medfuse::fuzz
