#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "base/error.h"

namespace medfuse {
namespace fs = std::filesystem;

namespace {

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, mode_t mode = 0) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    if (fd_ < 0) data_error("{}: {}", path.string(), std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void write_and_sync(const fs::path& path, std::string_view content) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const char* next = content.data();
  for (std::size_t left = content.size(); left > 0;) {
    const ssize_t n = ::write(file.get(), next, left);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) data_error("{}: write failed: {}", path.string(), std::strerror(errno));
    next += n;
    left -= static_cast<std::size_t>(n);
  }
  if (::fsync(file.get()) != 0) data_error("{}: fsync failed: {}", path.string(), std::strerror(errno));
}

}  // namespace

std::string read_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) data_error("{}: is a folder, a file is needed", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) data_error("{}: {}", path.string(), std::strerror(errno));
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) data_error("{}: read error: {}", path.string(), std::strerror(errno));
  return content;
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  fs::path beside = path;
  beside += ".partial";
  try {
    write_and_sync(beside, content);
    std::error_code error;
    if (fs::is_directory(path, error)) data_error("{}: is a folder; give a file's name", path.string());
    fs::rename(beside, path, error);
    if (error) data_error("{}: rename failed: {}", path.string(), error.message());
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(beside, ignored);  // it may hold patient data, and keep a full disk full
    throw;
  }
  sync_path(path.has_parent_path() ? path.parent_path() : ".");
}

void make_private_folder(const fs::path& path) {
  std::error_code error;
  const bool made = fs::create_directories(path, error);
  if (error) data_error("{}: cannot create the folder: {}", path.string(), error.message());
  if (made) fs::permissions(path, fs::perms::owner_all, error);
}

void sync_path(const fs::path& path) {
  Descriptor file(path, O_RDONLY);
  if (::fsync(file.get()) != 0) data_error("{}: fsync failed: {}", path.string(), std::strerror(errno));
}

void check_output_file(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (fs::is_directory(path)) data_error("{}: is a folder; give a file's name", path.string());
  if (!fs::is_directory(folder)) data_error("{}: there is no folder {}; make it first", path.string(), folder.string());
  if (::access(folder.c_str(), W_OK) != 0) data_error("{}: cannot write in {}: {}", path.string(), folder.string(), std::strerror(errno));
}

std::uint64_t file_checksum(const fs::path& path) {
  Descriptor file(path, O_RDONLY);
  const std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state(XXH64_createState(), XXH64_freeState);
  XXH64_reset(state.get(), 0);
  std::vector<char> block(1 << 20);
  for (;;) {
    const ssize_t n = ::read(file.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) data_error("{}: read error: {}", path.string(), std::strerror(errno));
    if (n == 0) break;
    XXH64_update(state.get(), block.data(), static_cast<std::size_t>(n));
  }
  return XXH64_digest(state.get());
}

}  // namespace medfuse
