// JSON from files that may be damaged or hostile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace medfuse {

/// The value, or one for which is_discarded() holds: text that is no JSON, or nested deeper than anything of ours. The library
/// copies and prints values by recursion, so that 100,000 brackets would overflow the stack.
nlohmann::json parse_json(std::string_view text);

/// The text of an object that is not empty, one item a line, with its checksum before it (base/checksum.h).
std::string sealed(const nlohmann::json& object);

}  // namespace medfuse
