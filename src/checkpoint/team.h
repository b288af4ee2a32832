// What saving and loading need of the ranks: to tell each other short texts. Keeps checkpoints free of MPI, so that an
// asynchronous writer can bring a control channel of its own and tests can run ranks as threads.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace medfuse::checkpoint {

struct Team {
  int rank = 0;
  int size = 1;
  /// Collective: every rank's text, in rank order.
  std::function<std::vector<std::string>(const std::string&)> all_gather;

  /// One rank on its own.
  static Team alone();
};

/// Collective: runs `work` on every rank and returns what the ranks returned, in rank order. If it threw anywhere, all
/// ranks throw the error of the first failing rank, so that nobody waits for a rank that has given up.
std::vector<std::string> gather_or_throw(const Team& team, const std::function<std::string()>& work);

}  // namespace medfuse::checkpoint
