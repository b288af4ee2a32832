#include "base/program_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <system_error>
#include <thread>

extern char** environ;

namespace medfuse {

namespace {

using Clock = std::chrono::steady_clock;

/// The environment with `more` in place of variables of the same name.
std::vector<std::string> environment_with(const std::vector<std::string>& more) {
  std::vector<std::string> all = more;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& other : more) replaced = replaced || other.starts_with(name);
    if (!replaced) all.emplace_back(text);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// 0, or what posix_spawn says. Spawned, not forked: the parent may hold much memory and many threads.
int start(std::vector<std::string> words, std::vector<std::string> environment, int out, pid_t& child) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawnp(&child, words.front().c_str(), &files, &attributes, pointers(words).data(),
                                 pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

enum class Reading { ended, late, woken };

/// Reads to the end of what is printed, as long as there is time.
Reading read_all(int from, Clock::time_point until, const WakeUp& wake, std::string& text) {
  for (;;) {
    struct pollfd both[2] = {{from, POLLIN, 0}, {wake.descriptor(), POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    const int ready = ::poll(both, 2, static_cast<int>(std::max<std::int64_t>(0, left)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Reading::late;
    if (both[1].revents != 0) return Reading::woken;
    char buffer[4096];
    const ssize_t n = ::read(from, buffer, sizeof(buffer));
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) return Reading::ended;
  }
}

/// A program that has closed its output is about to end, but need not.
bool ends_by(pid_t child, Clock::time_point until, int& status) {
  for (;;) {
    if (::waitpid(child, &status, WNOHANG) != 0) return true;
    if (Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace

WakeUp::WakeUp() : fd_(::eventfd(0, EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}
WakeUp::~WakeUp() { ::close(fd_); }
void WakeUp::wake() { ::eventfd_write(fd_, 1); }

ProgramOutput program_output(const std::vector<std::string>& words, const std::vector<std::string>& more,
                             std::chrono::milliseconds limit, const WakeUp& wake) {
  ProgramOutput output;
  const auto failed = [&](std::string why) {
    output.failure = std::move(why);
    output.text.clear();
    return output;
  };
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return failed(std::strerror(errno));
  pid_t child = 0;
  const auto until = Clock::now() + limit;
  const int error = start(words, environment_with(more), pipe[1], child);
  ::close(pipe[1]);
  if (error != 0) {
    ::close(pipe[0]);
    return failed(error == ENOENT ? "is not there" : std::strerror(error));
  }
  Reading reading = read_all(pipe[0], until, wake, output.text);
  ::close(pipe[0]);
  int status = 0;
  if (reading == Reading::ended && !ends_by(child, until, status)) reading = Reading::late;
  if (reading != Reading::ended) {
    ::kill(child, SIGKILL);
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (reading == Reading::woken) return failed("was not waited for");
  if (reading == Reading::late) {
    return failed(fmt::format("gave no answer in {:g} s", std::chrono::duration<double>(limit).count()));
  }
  if (WIFSIGNALED(status)) return failed(fmt::format("was killed by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return failed(fmt::format("returned {}", WEXITSTATUS(status)));
  output.ok = true;
  return output;
}

}  // namespace medfuse
