#include "base/random.h"

#include <xxhash.h>

namespace medfuse {

std::uint64_t name_counter(std::string_view name) { return XXH64(name.data(), name.size(), 0); }

}  // namespace medfuse
