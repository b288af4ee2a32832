// The best mesh for a job: every tensor degree, level of sharding, kind of recomputation and micro-batch is rehearsed.
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
  std::int64_t zero = 0;
  std::string recompute = "none";
  std::int64_t micro_batch = 1;
};

Choice choice_of(const train::TrainOptions& options);
Job with(const Job& job, const Choice& choice);
/// "parallel.tensor = 2, parallel.zero = 1": what `to` says otherwise than `from`.
std::string difference(const Choice& from, const Choice& to);

struct Candidate {
  Choice choice;
  double seconds = 0;  ///< of a step of every stage, one after the other
  double bytes = 0;    ///< that a rank needs
  Plan plan;
};

/// One tensor degree and level of sharding, and why it is not among the best.
struct Refusal {
  std::int64_t tensor = 1;
  std::int64_t zero = 0;
  std::string reason;
};

struct Search {
  std::vector<Candidate> best;     ///< those that fit, the fastest first; of each mesh and mode the best micro-batch
  std::vector<Refusal> refusals;
  std::optional<Candidate> least;  ///< the one that needs least memory, fitting or not
};

/// Micro-batches are the powers of two up to a rank's samples, and the job's own.
Search search(const Job& job);

/// The option (one, if one is enough) whose change makes a job fit that does not, at the least loss of speed; empty if
/// nothing fits.
std::optional<Candidate> smallest_change(const Job& job);

}  // namespace medfuse::plan
