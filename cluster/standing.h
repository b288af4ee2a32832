// What each rank of a job is doing, and who is to blame when one of them does not get on. Ranks that wait for each other's
// work all look alike from outside: followed from one to the next, the waiting ends at the rank that holds up the rest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/pending.h"
#include "cluster/watchdog.h"

namespace medfuse::cluster {

/// Of one rank at one moment.
struct Standing {
  Phase phase;
  std::optional<Pending> pending;  ///< nothing: it waits for no other rank
};

/// For the way between ranks: at most `limit` bytes, long names and lists cut.
std::string to_text(const Standing& standing, std::size_t limit);
/// Nothing if it is no such text.
std::optional<Standing> from_text(const std::string& text);

/// What is known of all ranks, by rank; nothing of one that did not answer.
using Standings = std::vector<std::optional<Standing>>;

/// Who holds up a rank.
struct Blame {
  enum class Kind {
    silent,   ///< they do not answer: stopped, killed or cut off
    stuck,    ///< they answer, wait for nobody, and have been too long in their phase
    knotted,  ///< all wait for each other, and have been too long in their phases
    busy,     ///< they wait for nobody and are within their time: others may go on waiting for them
    nobody,   ///< all wait, but not all for too long
  };
  Kind kind = Kind::nobody;
  std::vector<int> ranks;  ///< in order

  /// Whether waiting longer is in vain.
  bool is_final() const { return kind == Kind::silent || kind == Kind::stuck || kind == Kind::knotted; }
};

/// Follows from `rank` whom it waits for. One that waits, but nobody knows for whom, may wait for any other.
Blame find_blame(const Standings& standings, int rank);

/// Whom to blame, for people: "rank 2 on node7 does not answer: it is stopped, killed or cut off". `hosts` by rank. Empty
/// for nobody.
std::string blame_clause(const Blame& blame, const Standings& standings, const std::vector<std::string>& hosts);

/// The whole line: whom to blame, who waits in which operation, how long `rank` has been in its phase, and what to do.
std::string blame_line(const Blame& blame, const Standings& standings, int rank, const std::vector<std::string>& hosts);

}  // namespace medfuse::cluster
