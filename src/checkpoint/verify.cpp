#include "src/checkpoint/verify.h"

#include <optional>

#include "src/checkpoint/block_reader.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/header_checksum.h"
#include "src/checkpoint/manifest.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

std::vector<CheckpointInfo> list(const fs::path& folder) {
  if (!fs::is_directory(folder))
    data_error("{}: no such folder; give the checkpoints folder of a run", folder.string());
  std::vector<CheckpointInfo> result;
  for (const FolderEntry& entry : entries(folder)) {
    CheckpointInfo info;
    info.path = entry.path;
    info.step = entry.step;
    try {
      const Manifest manifest = read_manifest(entry.path);
      info.files = static_cast<std::int64_t>(manifest.files.size());
      info.extra = manifest.extra;
      info.tensors = static_cast<std::int64_t>(manifest.tensors.size());
      for (const TensorEntry& tensor : manifest.tensors) {
        for (const Shard& shard : tensor.shards) info.bytes += shard_bytes(tensor.info, shard);
      }
    } catch (const Error& error) {
      info.problem = error.what();
    }
    result.push_back(std::move(info));
  }
  return result;
}

VerifyReport verify(const fs::path& path) {
  VerifyReport report;
  std::optional<Manifest> manifest;
  try {
    manifest = read_manifest(path);
  } catch (const Error& error) {
    report.problems.emplace_back(error.what());
    return report;
  }
  std::vector<std::vector<ByteRange>> covered(manifest->files.size());
  std::vector<char> buffer(static_cast<std::size_t>(kBlockBytes));
  for (const TensorEntry& tensor : manifest->tensors) {
    ++report.tensors;
    for (const Shard& shard : tensor.shards) {
      const std::int64_t bytes = shard_bytes(tensor.info, shard);
      covered[shard.file].push_back({shard.byte_offset, bytes});
      try {
        BlockReader blocks(path / manifest->files[shard.file].name, tensor.info, shard);
        for (std::int64_t at = 0; at < bytes; at += kBlockBytes) {
          ++report.blocks;
          try {
            blocks.read(buffer.data(), at, std::min(kBlockBytes, bytes - at));
          } catch (const DamagedError& error) {
            report.problems.emplace_back(error.what());
          }
        }
      } catch (const DamagedError& error) {  // cannot be opened
        report.problems.emplace_back(error.what());
      }
    }
  }
  for (std::size_t i = 0; i < manifest->files.size(); ++i) {
    const FileEntry& file = manifest->files[i];
    report.bytes += file.bytes;
    try {
      const Descriptor descriptor = Descriptor::open_to_read(path / file.name);
      if (header_checksum(descriptor, file.bytes, covered[i]) != file.header) {
        report.problems.push_back(fmt::format(
            "{}: its HDF5 header was changed or damaged; this program still reads the tensors, HDF5 tools may fail",
            (path / file.name).string()));
      }
    } catch (const Error& error) {
      report.problems.emplace_back(error.what());
    }
  }
  return report;
}

}  // namespace medfuse::checkpoint
