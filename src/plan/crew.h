// The ranks of a mesh by what they do: all the same, or in the split layout of the encoder stage (train::SplitTask) some
// fine-tune the text encoder while the others pretrain the lab transformer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/job.h"

namespace medfuse::plan {

/// Ranks that are alike, as one of them sees itself.
struct Crew {
  std::string name;          ///< "text", "labs"; empty: there is but one crew
  std::int64_t size = 1;     ///< its ranks
  bool text = true;          ///< what they train in the encoder stage
  bool labs = true;
  std::int64_t task = 1;     ///< ranks that divide the samples of that, and sum its gradients
  std::int64_t sharing = 1;  ///< ranks with whom it shares the text encoder's weights where these are shared (ZeRO-3)
};

/// Those of a stage. Throws Error(usage) for lab ranks that cannot be.
std::vector<Crew> crews(const Job& job, const std::string& stage);

/// Tensor groups that fine-tune the text encoder in the encoder stage. Throws likewise.
std::int64_t text_groups(const Job& job);

}  // namespace medfuse::plan
