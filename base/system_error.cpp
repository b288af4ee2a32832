#include "base/system_error.h"

#include <cerrno>
#include <cstring>

namespace medfuse {

namespace {

const char* remedy(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; make room, then run the same command again";
    case EROFS:
      return "; have it mounted for writing, or give another place";
    case EIO:
      return "; the storage fails: mend it, then run the same command again";
    default:
      return "";
  }
}

}  // namespace

std::string system_message(int error) { return std::string(std::strerror(error)) + remedy(error); }

}  // namespace medfuse
