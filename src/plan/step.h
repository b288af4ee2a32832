// A step of training on one rank, rehearsed: memory at its peak, traffic, time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/job.h"
#include "src/plan/ledger.h"
#include "src/plan/rehearsal.h"

namespace medfuse::plan {

/// A stage, for one crew of its ranks.
struct StagePlan {
  std::string name;
  std::string crew;
  std::int64_t ranks = 1;      ///< of the crew
  Bytes peak{};                ///< of each item, when their sum is largest
  std::int64_t peak_bytes = 0; ///< of tensors
  Tally step;
  double idle = 0;             ///< seconds behind it until the other crew is ready, too
  double seconds() const { return step.seconds + idle; }
  double waiting() const;      ///< of those, for others
  std::string title() const { return crew.empty() ? name : name + ", " + crew; }
};

struct Plan {
  std::vector<StagePlan> stages;     ///< in order; the crews of a stage are neighbours
  const StagePlan& largest() const;  ///< that needs most memory
  const StagePlan& slowest() const;  ///< whose steps take longest
  double seconds() const;            ///< of a step of every stage, one after the other
  double waiting() const;            ///< of those, for others, as the mean over the ranks
  /// Memory that a rank needs: tensors, what the allocator loses, libraries.
  double needed_bytes(const Machine& machine) const;
  bool fits(const Machine& machine) const;
};

/// Rehearses a step of each stage of the job on that rank of each crew which has most samples. Throws as check() and text_shape() do.
Plan plan(const Job& job);

}  // namespace medfuse::plan
