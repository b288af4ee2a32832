// Preloaded into a program under test: strikes at the N-th call that changes something under a folder. So every write, fsync
// and rename of a save can be the last one, or fail.
//   MEDFUSE_FAULT=KIND:N       kill: SIGKILL in the place of the call; torn: a write does half of its work first; an errno
//                              (EIO, ENOSPC, EROFS): the call fails; ENOLCK: locking does, and nothing else counts;
//                              sleep-MS: it takes so many milliseconds longer; all-KIND: and so do all after it; count:
//                              nothing strikes
//   MEDFUSE_FAULT_PATH=TEXT    only paths that contain it count
//   MEDFUSE_FAULT_RANK=R       only in this rank of an mpirun or srun
//   MEDFUSE_FAULT_LOG=FILE     gets a line "N NAME PATH" for each call that counts
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

struct Settings {
  bool active = false, torn = false, kills = false, lasting = false;
  long strike = 0;  // 0: never
  int error = 0;
  unsigned milliseconds = 0;
  std::string path, log;
};

int error_named(const std::string& name) {
  if (name == "EIO") return EIO;
  if (name == "ENOSPC") return ENOSPC;
  if (name == "EROFS") return EROFS;
  if (name == "ENOLCK") return ENOLCK;
  return 0;
}

Settings read_settings() {
  Settings s;
  const char* const fault = std::getenv("MEDFUSE_FAULT");
  const char* const path = std::getenv("MEDFUSE_FAULT_PATH");
  if (fault == nullptr || path == nullptr) return s;
  const char* const rank = std::getenv("MEDFUSE_FAULT_RANK");
  const char* own = std::getenv("OMPI_COMM_WORLD_RANK");
  if (own == nullptr) own = std::getenv("SLURM_PROCID");
  if (rank != nullptr && (own == nullptr || std::strcmp(rank, own) != 0)) return s;
  s.active = true;
  s.path = path;
  if (const char* const log = std::getenv("MEDFUSE_FAULT_LOG")) s.log = log;
  std::string kind = fault;
  const auto colon = kind.find(':');
  if (colon != std::string::npos) {
    s.strike = std::atol(kind.c_str() + colon + 1);
    kind.resize(colon);
  }
  if (kind.starts_with("all-")) {
    s.lasting = true;
    kind.erase(0, 4);
  }
  if (kind.starts_with("sleep-")) s.milliseconds = static_cast<unsigned>(std::atol(kind.c_str() + 6));
  s.error = error_named(kind);
  s.torn = kind == "torn";
  s.kills = s.torn || kind == "kill";
  if (kind == "count") s.strike = 0;
  return s;
}

const Settings& settings() {
  static const Settings s = read_settings();
  return s;
}

std::atomic<long> calls{0};

std::string path_of(int fd) {
  char link[64], target[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = ::readlink(link, target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<std::size_t>(n));
}

std::string path_at(int folder, const char* path) {
  if (path[0] == '/' || folder == AT_FDCWD) return path;
  return path_of(folder) + "/" + path;
}

enum class Verdict { go_on, tear, fail };

/// Counts the call; does not come back if it is to be the last.
Verdict judge(const char* name, const std::string& path) {
  const Settings& s = settings();
  if (!s.active || path.find(s.path) == std::string::npos) return Verdict::go_on;
  // Locking changes no file: it counts only where it is what fails.
  if ((std::strcmp(name, "flock") == 0) != (s.error == ENOLCK)) return Verdict::go_on;
  const long number = ++calls;
  if (!s.log.empty()) {
    const std::string line = std::to_string(number) + " " + name + " " + path + "\n";
    const int log = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, s.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    ::syscall(SYS_write, log, line.data(), line.size());
    ::syscall(SYS_close, log);
  }
  if (s.strike == 0 || number < s.strike || (number > s.strike && !s.lasting)) return Verdict::go_on;
  if (s.torn && std::strstr(name, "write") != nullptr) return Verdict::tear;
  if (s.kills) {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }
  if (s.milliseconds > 0) std::this_thread::sleep_for(std::chrono::milliseconds(s.milliseconds));
  errno = s.error;
  return s.error != 0 ? Verdict::fail : Verdict::go_on;
}

void die() {
  ::kill(::getpid(), SIGKILL);
  ::pause();
}

template <class F>
F real(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

template <class F, class... A>
int judged(const char* name, const std::string& path, A... arguments) {
  if (judge(name, path) == Verdict::fail) return -1;
  static const F function = real<F>(name);
  return function(arguments...);
}

int open_any(const char* name, int folder, const char* path, int flags, mode_t mode) {
  if ((flags & O_CREAT) != 0 && judge(name, path_at(folder, path)) == Verdict::fail) return -1;
  return static_cast<int>(::syscall(SYS_openat, folder, path, flags, mode));
}

mode_t mode_of(int flags, va_list arguments) { return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0; }

ssize_t pwrite_any(const char* name, int fd, const void* data, size_t bytes, off_t offset) {
  switch (judge(name, path_of(fd))) {
    case Verdict::fail:
      return -1;
    case Verdict::tear:
      ::syscall(SYS_pwrite64, fd, data, bytes / 2, offset);
      die();
      break;
    case Verdict::go_on:
      break;
  }
  return ::syscall(SYS_pwrite64, fd, data, bytes, offset);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_any("open", AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_any("open", AT_FDCWD, path, flags, mode);
}
ssize_t write(int fd, const void* data, size_t bytes) {
  switch (judge("write", path_of(fd))) {
    case Verdict::fail:
      return -1;
    case Verdict::tear:
      ::syscall(SYS_write, fd, data, bytes / 2);
      die();
      break;
    case Verdict::go_on:
      break;
  }
  return ::syscall(SYS_write, fd, data, bytes);
}
ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) { return pwrite_any("pwrite", fd, data, bytes, offset); }
ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t offset) {
  return pwrite_any("pwrite", fd, data, bytes, offset);
}
int fsync(int fd) { return judged<int (*)(int)>("fsync", path_of(fd), fd); }
int fdatasync(int fd) { return judged<int (*)(int)>("fdatasync", path_of(fd), fd); }
int ftruncate(int fd, off_t length) noexcept { return judged<int (*)(int, off_t)>("ftruncate", path_of(fd), fd, length); }
int ftruncate64(int fd, off64_t length) noexcept {
  return judged<int (*)(int, off64_t)>("ftruncate", path_of(fd), fd, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return judged<int (*)(int, int, off_t, off_t)>("fallocate", path_of(fd), fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }
int rename(const char* from, const char* to) noexcept {
  return judged<int (*)(const char*, const char*)>("rename", to, from, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  return judged<int (*)(int, const char*, int, const char*, unsigned)>("renameat2", path_at(to_folder, to), from_folder, from,
                                                                       to_folder, to, flags);
}
int mkdir(const char* path, mode_t mode) noexcept { return judged<int (*)(const char*, mode_t)>("mkdir", path, path, mode); }
int unlink(const char* path) noexcept { return judged<int (*)(const char*)>("unlink", path, path); }
int unlinkat(int folder, const char* path, int flags) noexcept {
  return judged<int (*)(int, const char*, int)>("unlinkat", path_at(folder, path), folder, path, flags);
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // there is a struct of this name, too
int flock(int fd, int operation) noexcept { return judged<int (*)(int, int)>("flock", path_of(fd), fd, operation); }
#pragma GCC diagnostic pop
int rmdir(const char* path) noexcept { return judged<int (*)(const char*)>("rmdir", path, path); }

}  // extern "C"
