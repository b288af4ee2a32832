// manifest.json: which bytes of which file hold which block of which tensor, with checksums. See
// docs/format-checkpoints.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/checkpoint/box.h"
#include "src/checkpoint/errors.h"
#include "src/checkpoint/tensor_info.h"

namespace medfuse::checkpoint {

inline constexpr std::int64_t kBlockBytes = 1 << 20;  ///< of a shard, for each checksum; the last block may be shorter
inline constexpr const char* kManifestName = "manifest.json";

struct FileEntry {
  std::string name;
  std::int64_t bytes = 0;
  std::uint64_t header = 0;  ///< XXH64 of the bytes that belong to no shard, in order
};

/// A block of a tensor: row-major, little-endian, at byte_offset of a file.
struct Shard {
  std::size_t file = 0;
  std::string dataset;  ///< its name in the HDF5 file
  std::int64_t byte_offset = 0;
  Box box;
  std::vector<std::uint64_t> blocks;  ///< XXH64 of each kBlockBytes
};

struct TensorEntry {
  TensorInfo info;
  std::vector<Shard> shards;  ///< tile the tensor
};

struct Manifest {
  std::int64_t step = 0;
  nlohmann::json extra;
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;  ///< sorted by name

  /// nullptr if there is none.
  const TensorEntry* find(const std::string& name) const;
};

std::int64_t shard_bytes(const TensorInfo& tensor, const Shard& shard);

/// Sealed JSON (base/checksum.h).
std::string to_text(const Manifest& manifest);

/// Reads and checks folder/manifest.json: its checksum and every field, names and ranges included, and the sizes of the
/// files. Throws DamagedError naming file and tensor; Error(data) for a format version that is not known.
Manifest read_manifest(const std::filesystem::path& folder);

/// Shards as JSON, also used by ranks to report what they wrote.
nlohmann::json shard_to_json(const Shard& shard);

}  // namespace medfuse::checkpoint
