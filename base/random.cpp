#include "base/random.h"

#include "base/checksum.h"

namespace medfuse {

std::uint64_t name_counter(std::string_view name) { return checksum(name); }

}  // namespace medfuse
