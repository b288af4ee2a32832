// A step of training on one rank, rehearsed: memory at its peak, traffic, time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/job.h"
#include "src/plan/ledger.h"
#include "src/plan/rehearsal.h"

namespace medfuse::plan {

struct StagePlan {
  std::string name;
  Bytes peak{};                ///< of each item, when their sum is largest
  std::int64_t peak_bytes = 0; ///< of tensors
  Tally step;
};

struct Plan {
  std::vector<StagePlan> stages;
  const StagePlan& largest() const;  ///< stage that needs most memory
  const StagePlan& slowest() const;  ///< and the one whose steps take longest
  /// Memory that a rank needs: tensors, what the allocator loses, libraries.
  double needed_bytes(const Machine& machine) const;
  bool fits(const Machine& machine) const;
};

/// Rehearses a step of each stage of the job on the rank that has most samples. Throws as check() and text_shape() do.
Plan plan(const Job& job);

}  // namespace medfuse::plan
