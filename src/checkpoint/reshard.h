// Writes a checkpoint anew with another number of files: to archive one that many ranks wrote, or to spread a large one.
#pragma once

#include <cstdint>
#include <filesystem>

#include "src/checkpoint/writer.h"

namespace medfuse::checkpoint {

/// Writes the checkpoint `from` (a step-... folder) into `folder`, under its own name, as `files` ranks that hold all of it
/// would: step, extra and every tensor stay the same, bit for bit. Every block is read against its checksum. Takes memory
/// for one of the new files. Tensors under 1 MiB are not cut, so there may be fewer files. Any mesh reads either.
/// Throws DamagedError, Error(data), or Error(usage) if `folder` holds checkpoints already.
SaveReport reshard(const std::filesystem::path& from, const std::filesystem::path& folder, std::int64_t files);

}  // namespace medfuse::checkpoint
