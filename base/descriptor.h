// A file descriptor with reads and writes that are whole or an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <utility>

namespace medfuse {

/// Errors are Error(data) with the path and what the system said.
class Descriptor {
 public:
  static Descriptor open_to_read(const std::filesystem::path& path);
  static Descriptor open_to_write(const std::filesystem::path& path);
  /// Creates an empty file, mode 0600; one that is already there is an error.
  static void create(const std::filesystem::path& path);
  /// Made (mode 0600) where it is missing; for append() alone.
  static Descriptor open_to_append(const std::filesystem::path& path);
  /// An empty file to write, mode 0600 if it is new; what was there is gone.
  static Descriptor replace(const std::filesystem::path& path);

  Descriptor(Descriptor&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor();

  std::int64_t size() const;
  void read(void* data, std::size_t bytes, std::int64_t offset) const;
  /// At most `bytes`; fewer, or 0, at the end of the file.
  std::size_t read_some(void* data, std::size_t bytes, std::int64_t offset) const;
  void write(const void* data, std::size_t bytes, std::int64_t offset) const;
  /// Writes at the end, wherever that is by then.
  void append(const void* data, std::size_t bytes) const;
  /// Makes the disk give the space now, so that a full disk shows before anything is written.
  void reserve(std::int64_t bytes) const;
  /// Lets the disk begin with what is written by now. Nothing is promised: sync() alone tells of errors.
  void begin_sync() const noexcept;
  void sync() const;

 private:
  Descriptor(std::filesystem::path path, int flags);
  [[noreturn]] void fail(const char* what, int error) const;

  std::filesystem::path path_;
  int fd_;
};

}  // namespace medfuse
