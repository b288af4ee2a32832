// A file mapped into memory as private pages: reads come from the page cache, shared between the ranks of a node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace medfuse::weights {

class MappedFile {
 public:
  /// Throws Error(data) naming the path.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Writing copies the page for this process; the file never changes.
  std::byte* data() const { return data_; }
  std::uint64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace medfuse::weights
