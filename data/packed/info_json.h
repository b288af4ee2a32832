// The index of a packed data set (index.json): what is common to its samples, and its shards with their checksums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/packed/packed.h"

namespace medfuse::data {

/// One HDF5 file of a packed data set.
struct ShardEntry {
  std::string file;            ///< name within the folder
  std::int64_t samples = 0;
  std::uint64_t bytes = 0;     ///< size of the file
  std::uint64_t checksum = 0;  ///< XXH64 of the file
  std::map<std::string, std::uint64_t> arrays;  ///< byte of the file where each dataset's elements begin
};

struct PackedIndex {
  PackedInfo info;
  std::vector<ShardEntry> shards;
};

nlohmann::json info_to_json(const PackedInfo& info);

/// Writes FOLDER/index.json, sealed (base/checksum.h), atomically.
void write_index(const std::filesystem::path& folder, const PackedIndex& index);
/// What a user can do about an index.
struct IndexRemedies {
  std::string damaged = "pack the data again";
  std::string other_version = "pack the data again, or use the program that wrote it";
};

/// Reads an index.json. Throws Error(data) naming the file, the key and the remedy if it is missing, damaged or of another
/// format version.
PackedIndex read_index(const std::filesystem::path& file, const IndexRemedies& remedies = {});

}  // namespace medfuse::data
