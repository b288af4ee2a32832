// Descriptions of machines: the files in configs/machines/.
#pragma once

#include <string>

#include "src/plan/machine.h"

namespace medfuse::launch {

/// Reads a file of keys as OptionTable does. Throws Error(usage) for a missing file, naming those that are there beside it,
/// and for a key or number that cannot be.
plan::Machine read_machine(const std::string& file);

}  // namespace medfuse::launch
