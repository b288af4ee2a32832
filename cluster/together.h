// How a job ends on an error: one rank prints one line, every rank leaves with the same exit code, none is left running.
//
// Two ways, and which one fits depends on where the error happens:
// - together(): around steps that each rank does alone (reading options, files, a checkpoint's shards). All ranks learn
//   whether one failed. The lowest failing rank throws AgreedError with its own message, the others SilentExit with the
//   same code; all unwind and leave through MPI_Finalize. A step must not hold collectives that one rank's failure would
//   keep the others waiting in: they would wait for the timeout.
// - abort_job(): for errors anywhere else, where the others may be inside a collective. MPI_Abort ends all ranks. Rank 0
//   acts at once and the others a little later, so that one line is printed when all fail alike. If the error is a peer's,
//   the line begins with the rank that is to blame, as far as the ranks can tell (cluster/standing.h).
// run_job() is the frame of a main function: it does the right one of the two.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "cluster/process.h"

namespace medfuse::cluster {

/// An error that all ranks know of: the one rank that throws it prints it and leaves normally.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// Leave with this code and print nothing: another rank does. Not a std::exception, so that no general handler prints.
struct SilentExit {
  int code;
};

/// Exit code of an exception that is not an Error: a fault of the program.
inline constexpr int internal_fault = 1;

/// Runs `step` on each rank and returns only if it succeeded on all. Collective. See the top of this file.
void together(Process& process, const std::function<void()>& step);

/// Prints the line and ends all ranks with this exit code.
[[noreturn]] void abort_job(Process& process, int code, const std::string& message);
[[noreturn]] inline void abort_job(Process& process, ExitCode code, const std::string& message) {
  abort_job(process, static_cast<int>(code), message);
}

/// Runs the body of a program and returns its exit code. AgreedError: prints "medfuse: ..." on stderr and returns its code.
/// SilentExit: returns its code. Any other exception: abort_job. With one rank nothing is aborted: prints and returns.
int run_job(Process& process, const std::function<int()>& body);

}  // namespace medfuse::cluster
