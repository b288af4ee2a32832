#include "src/weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace medfuse::weights {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    data_error("{}: cannot be opened ({}); check the path and its permissions", path.string(), std::strerror(errno));
  }
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    data_error("{}: is not a regular file; name a weights file or its folder", path.string());
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (size_ > 0) {
    void* const pages = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (pages == MAP_FAILED) {
      const int reason = errno;
      ::close(descriptor);
      data_error("{}: cannot be mapped into memory ({}); check the limit on virtual memory (ulimit -v)", path.string(),
                 std::strerror(reason));
    }
    data_ = static_cast<std::byte*>(pages);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace medfuse::weights
