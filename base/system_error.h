// What the system says of a call on a file that failed, and what to do where that is the same whatever the file.
#pragma once

#include <string>

namespace medfuse {

/// `error`: as in errno. "No space left on device; make room, then run the same command again".
std::string system_message(int error);

}  // namespace medfuse
