// A folder that is there whole or not at all: weights written for other programs to load.
#pragma once

#include <filesystem>

namespace medfuse::weights {

/// Throws Error(data) unless a folder can be made at `path`: something is there already, or its parent is missing or may not
/// be written. Before long work whose result goes there.
void check_output_folder(const std::filesystem::path& path);

/// A folder in the making, beside its place under the name PATH.partial, readable by its owner only. Unless it is
/// committed it is removed; one that a killed job left is removed first.
class PartialFolder {
 public:
  /// Makes the folder beside. Throws as check_output_folder does.
  explicit PartialFolder(const std::filesystem::path& path);
  ~PartialFolder();
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  /// Where to write. Files are to be flushed by whoever writes them.
  const std::filesystem::path& beside() const { return beside_; }
  /// Flushes the folder and renames it to the path. Throws Error(data) naming the path.
  void commit();

 private:
  std::filesystem::path path_, beside_;
};

}  // namespace medfuse::weights
