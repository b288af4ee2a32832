// Files that must not be half-written or readable by others: patient data, checkpoints, results.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace medfuse {

/// Whole content of a file. Throws Error(data) naming the path.
std::string read_file(const std::filesystem::path& path);

/// A file in the making, written beside its place under the name PATH.partial. Unless it is committed it is removed: it
/// may hold patient data, and would keep a full disk full.
class PartialFile {
 public:
  explicit PartialFile(std::filesystem::path path);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  /// Where to write.
  const std::filesystem::path& beside() const { return beside_; }
  /// Fsyncs what was written, renames it over the path and fsyncs the folder. Throws Error(data) naming the path.
  void commit();

 private:
  std::filesystem::path path_, beside_;
};

/// Writes beside, fsyncs, renames over `path`, fsyncs the folder; mode 0600 (it may hold patient data).
/// Throws Error(data) naming the path.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Throws Error(data) unless a file can be written at `path`: before long work whose result goes there.
void check_output_file(const std::filesystem::path& path);

/// Creates the folder (and parents) readable by its owner only. Throws Error(data) naming the path.
void make_private_folder(const std::filesystem::path& path);

/// Flushes a file or folder to the disk. Throws Error(data) naming the path.
void sync_path(const std::filesystem::path& path);

/// XXH64 of the file's bytes. Throws Error(data) naming the path.
std::uint64_t file_checksum(const std::filesystem::path& path);

}  // namespace medfuse
