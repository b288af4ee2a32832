// What another program prints, for questions to the system that only its tools can answer.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace medfuse {

/// Wakes whoever waits for a program's output, from any thread.
class WakeUp {
 public:
  WakeUp();  ///< throws std::system_error without descriptors left
  ~WakeUp();
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;
  void wake();
  int descriptor() const { return fd_; }  ///< readable once woken

 private:
  int fd_;
};

struct ProgramOutput {
  bool ok = false;      ///< it ran to its end and returned 0
  std::string text;     ///< standard output, if ok
  std::string failure;  ///< otherwise why, in words: "is not there", "returned 1", "gave no answer in 60 s"
};

/// Runs `words` (found on PATH, no shell) with `more` added to the environment ("NAME=value") and nothing on standard input;
/// its standard error is not shown. It is killed when the time is up or `wake` is woken, which is a failure too.
ProgramOutput program_output(const std::vector<std::string>& words, const std::vector<std::string>& more,
                             std::chrono::milliseconds limit, const WakeUp& wake);

}  // namespace medfuse
