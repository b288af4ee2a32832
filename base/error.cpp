#include "base/error.h"

namespace medfuse {

Error::Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

}  // namespace medfuse
