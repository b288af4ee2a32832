// The 256 printable characters by which byte-level tokenizers write bytes in their files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace medfuse::data {

/// The character of `byte`, in UTF-8: the byte itself where Latin-1 prints it, else the next free one from U+0100 on.
const std::string& byte_character(unsigned char byte);

/// The bytes that `token` stands for; nothing if some character of it is none of the 256 or it is no valid UTF-8.
std::optional<std::string> bytes_of_token(std::string_view token);

}  // namespace medfuse::data
