// The best mesh for a job: every tensor degree, layout, level of sharding, kind of recomputation and micro-batch is rehearsed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/plan/step.h"

namespace medfuse::plan {

/// What a search may choose.
struct Choice {
  std::int64_t tensor = 1;
  bool sequence = false;
  std::optional<std::int64_t> lab_ranks = {};  ///< split layout; nothing: interleaved
  std::int64_t zero = 0;
  std::string recompute = "none";
  std::int64_t micro_batch = 1;
};

Choice choice_of(const Job& job);
Job with(const Job& job, const Choice& choice);
/// "parallel.tensor = 2, parallel.zero = 1": what `to` says otherwise than `from`.
std::string difference(const Choice& from, const Choice& to);

struct Candidate {
  Choice choice;
  double bytes = 0;  ///< that a rank needs
  Plan plan;
};

/// One tensor degree and level of sharding, and why it is not among the best.
struct Refusal {
  std::int64_t tensor = 1;
  std::int64_t zero = 0;
  std::string reason;
};

/// Whether so little is left of a rank's memory that a plan's error may take it.
bool tight(const Candidate& candidate, const Machine& machine);

struct Search {
  std::vector<Candidate> best;     ///< those that fit, the fastest first, tight ones last; of each mesh, layout and mode the best micro-batch
  std::vector<Refusal> refusals;
  std::optional<Candidate> least;  ///< the one that needs least memory, fitting or not
};

/// Micro-batches are the powers of two up to a rank's samples, and the job's own; split the fastest of the interleaved mesh,
/// and the job's own. Numbers of lab ranks are the least, the one with which both encoders take about equally long, and the
/// job's own.
Search search(const Job& job);

/// The option (one, if one is enough) whose change makes a job fit that does not, at the least loss of speed; empty if
/// nothing fits.
std::optional<Candidate> smallest_change(const Job& job);

}  // namespace medfuse::plan
