#include "base/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/system_error.h"

namespace medfuse {
namespace fs = std::filesystem;

namespace {
constexpr std::size_t kLargestCall = std::size_t{1} << 30;  // Linux moves at most 2 GiB a call
}

Descriptor::Descriptor(fs::path path, int flags)
    : path_(std::move(path)), fd_(::open(path_.c_str(), flags | O_CLOEXEC, 0600)) {
  if (fd_ < 0) fail("cannot open", errno);
}

Descriptor Descriptor::open_to_read(const fs::path& path) { return {path, O_RDONLY}; }
Descriptor Descriptor::open_to_write(const fs::path& path) { return {path, O_RDWR}; }
Descriptor Descriptor::open_to_append(const fs::path& path) { return {path, O_WRONLY | O_CREAT | O_APPEND}; }
Descriptor Descriptor::replace(const fs::path& path) { return {path, O_RDWR | O_CREAT | O_TRUNC}; }
void Descriptor::create(const fs::path& path) { Descriptor(path, O_RDWR | O_CREAT | O_EXCL); }

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void Descriptor::fail(const char* what, int error) const {
  data_error("{}: {}: {}", path_.string(), what, system_message(error));
}

std::int64_t Descriptor::size() const {
  struct stat status;
  if (::fstat(fd_, &status) != 0) fail("cannot tell its size", errno);
  return status.st_size;
}

std::size_t Descriptor::read_some(void* data, std::size_t bytes, std::int64_t offset) const {
  for (;;) {
    const ssize_t n = ::pread(fd_, data, std::min(bytes, kLargestCall), offset);
    if (n >= 0) return static_cast<std::size_t>(n);
    // What to do about it says who reads.
    if (errno != EINTR) data_error("{}: read error: {}", path_.string(), std::strerror(errno));
  }
}

void Descriptor::read(void* data, std::size_t bytes, std::int64_t offset) const {
  auto* next = static_cast<char*>(data);
  while (bytes > 0) {
    const std::size_t n = read_some(next, bytes, offset);
    if (n == 0) data_error("{}: ends early", path_.string());
    next += n;
    offset += static_cast<std::int64_t>(n);
    bytes -= n;
  }
}

void Descriptor::write(const void* data, std::size_t bytes, std::int64_t offset) const {
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd_, next, std::min(bytes, kLargestCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write failed", errno);
    next += n;
    offset += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void Descriptor::append(const void* data, std::size_t bytes) const {
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, next, std::min(bytes, kLargestCall));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write failed", errno);
    next += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void Descriptor::reserve(std::int64_t bytes) const {
  if (bytes == 0) return;
  // Not posix_fallocate: where the file system cannot reserve, that writes to every page by itself.
  while (::fallocate(fd_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return;  // a full disk shows while writing
    fail("cannot reserve its space", errno);
  }
}

void Descriptor::begin_sync() const noexcept { ::sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE); }

void Descriptor::sync() const {
  if (::fsync(fd_) != 0) fail("fsync failed", errno);
}

}  // namespace medfuse
