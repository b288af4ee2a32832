#include "cluster/together.h"

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <optional>

#include "cluster/job_watch.h"

namespace medfuse::cluster {

namespace {

/// What one rank's step threw.
struct Failure {
  int code = internal_fault;
  std::string message;
  bool silent = false;  ///< agreed on already in a step inside this one: printed by another rank
};

/// LibTorch adds a backtrace to what it throws; a user needs the first line.
std::string internal_error(const std::exception& fault) {
  const std::string text = fault.what();
  return "internal error: " + text.substr(0, text.find('\n'));
}

/// A path that the system refuses is the user's matter, not a fault of the program.
std::string path_error(const std::filesystem::filesystem_error& fault) {
  return fmt::format("{}: {}; check the path and who may read it", fault.path1().string(), fault.code().message());
}

std::optional<Failure> run(const std::function<void()>& step) {
  try {
    step();
    return std::nullopt;
  } catch (const SilentExit& exit) {
    return Failure{exit.code, "", true};
  } catch (const Error& error) {
    return Failure{static_cast<int>(error.code()), error.what(), false};
  } catch (const std::filesystem::filesystem_error& fault) {
    return Failure{static_cast<int>(ExitCode::data), path_error(fault), false};
  } catch (const std::exception& fault) {
    return Failure{internal_fault, internal_error(fault), false};
  }
}

void print_line(const std::string& message) {
  fmt::print(stderr, "medfuse: {}\n", message);
  std::fflush(stderr);
}

}  // namespace

void together(Process& process, const std::function<void()>& step) {
  const std::optional<Failure> failure = run(step);
  // The lowest rank that has something to say speaks; silent ones only keep the job from going on.
  constexpr std::int64_t no_failure = std::numeric_limits<std::int64_t>::max();
  std::int64_t own = no_failure;
  if (failure) own = process.rank() + (failure->silent ? process.size() : 0);
  std::int64_t first = no_failure, code = 0;
  try {
    first = process.all_reduce(own, Combine::min);
    if (first == no_failure) return;
    const int speaker = static_cast<int>(first % process.size());
    const bool speaks = process.rank() == speaker;
    code = process.all_reduce(speaks ? std::int64_t{failure->code} : std::int64_t{0}, Combine::max);
  } catch (const Error&) {
    if (!failure || failure->silent) throw;
    throw Error(static_cast<ExitCode>(failure->code), failure->message);  // what happened here says more
  }
  process.set_leaving_together();
  if (process.rank() == first) throw AgreedError(static_cast<ExitCode>(code), failure->message);
  throw SilentExit{static_cast<int>(code)};
}

void abort_job(Process& process, int code, const std::string& message) { process.watch().end_job(code, message); }

int run_job(Process& process, const std::function<int()>& body) {
  int code = internal_fault;
  std::string message;
  try {
    return body();
  } catch (const SilentExit& exit) {
    return exit.code;
  } catch (const AgreedError& error) {
    print_line(error.what());
    return static_cast<int>(error.code());
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
    message = error.what();
  } catch (const std::filesystem::filesystem_error& fault) {
    code = static_cast<int>(ExitCode::data);
    message = path_error(fault);
  } catch (const std::exception& fault) {
    message = internal_error(fault);
  }
  if (process.size() > 1) abort_job(process, code, message);
  print_line(message);
  return code;
}

}  // namespace medfuse::cluster
