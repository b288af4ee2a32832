// The one error type: what went wrong in one line (what, where, what to do) and the exit code it leads to.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace medfuse {

/// Exit codes that scripts rely on. Only communication, stopped and launcher deaths (128+n) are worth a restart.
enum class ExitCode { done = 0, usage = 2, data = 3, communication = 4, numeric = 5, stopped = 85 };

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message);
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// Wrong command line or configuration (exit code 2).
template <class... Args>
[[noreturn]] void usage_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::usage, fmt::format(format, std::forward<Args>(args)...));
}

/// Bad input tables, packed data, weights or checkpoint (exit code 3).
template <class... Args>
[[noreturn]] void data_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::data, fmt::format(format, std::forward<Args>(args)...));
}

/// A peer died, hung or disagreed (exit code 4).
template <class... Args>
[[noreturn]] void communication_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::communication, fmt::format(format, std::forward<Args>(args)...));
}

/// Non-finite losses or gradients (exit code 5).
template <class... Args>
[[noreturn]] void numeric_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitCode::numeric, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace medfuse
