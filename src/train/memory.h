// Memory of this process as the operating system counts it.
#pragma once

#include <cstdint>
#include <string>

namespace medfuse::train {

/// Resident bytes now, from /proc/self/statm; 0 where the system has no such file.
std::int64_t resident_bytes();

/// The most that was ever resident, in bytes, by getrusage().
std::int64_t peak_resident_bytes();

/// "812 MiB", "1.4 GiB": three digits at most before the unit.
std::string format_bytes(std::int64_t bytes);

}  // namespace medfuse::train
