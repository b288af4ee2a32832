// Writes one shard of a packed data set. Equal samples give equal bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/packed/info_json.h"
#include "data/packed/packed.h"

namespace medfuse::data {

inline constexpr std::int64_t packed_format_version = 3;

/// Names of a shard's datasets.
std::vector<std::string> dataset_names(const PackedInfo& info);

/// Name of a shard's file: shard-00012.h5.
std::string shard_name(std::int64_t number);

/// Writes FOLDER/shard_name(number) beside, flushes it to the disk and renames it; mode 0600. Samples' shapes must
/// match `info` (std::logic_error). Throws Error(data) naming the file if it cannot be written.
ShardEntry write_shard(const std::filesystem::path& folder, std::int64_t number, const PackedInfo& info,
                       std::span<const Sample> samples);

}  // namespace medfuse::data
