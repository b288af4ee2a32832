// Signals that ask a run to stop at the next good moment. The handlers only note the signal, which is all that they safely
// can; the training loop asks.
//
// Asked again and again: a batch system may send SIGTERM twice (when a grace time begins and when it is over), with SIGKILL
// behind it, and the second must not spoil the checkpoint that the first one asked for. So two are taken as requests; the
// third, of somebody who will not wait, ends the process at once as it would without a handler. Signals that come within
// half a second are one: mpirun and the batch system may both pass on the same.
#pragma once

#include <csignal>
#include <string>
#include <utility>
#include <vector>

namespace medfuse::cluster {

/// Numbers of signals written as "TERM" or "SIGTERM"; none for the list "none". Throws Error(usage) naming what is known.
std::vector<int> signal_numbers(const std::vector<std::string>& names);

/// "SIGUSR1"; "signal 99" for one without a name here.
std::string signal_name(int number);

/// Handlers from construction to destruction, which puts the former ones back. One object at a time in a process.
class StopSignals {
 public:
  explicit StopSignals(const std::vector<int>& signals);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The first signal that has come; 0: none. For any thread.
  int received() const;

 private:
  std::vector<std::pair<int, struct sigaction>> former_;
};

}  // namespace medfuse::cluster
