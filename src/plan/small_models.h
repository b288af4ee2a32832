// The models beside the text encoder: head, lab transformer, fusion transformer, vCLUB estimator. Their parameters are
// counted exactly; what they keep for a backward pass is counted by block, and small beside the text encoder's.
#pragma once

#include <cstdint>

#include "src/plan/rehearsal.h"

namespace medfuse::plan {

/// Elements of parameters.
struct SmallModels {
  std::int64_t text_head = 0;
  std::int64_t labs = 0;
  std::int64_t lab_encoder = 0;  ///< the part of the lab transformer that the fusion stage trains
  std::int64_t fusion = 0;
  std::int64_t estimator = 0;    ///< 0 where the fusion has one view
  std::int64_t sum() const { return text_head + labs + fusion + estimator; }
};

SmallModels small_models(const Job& job);

/// Memory and time of the lab transformer in a pretraining pass over `samples`, forward and backward.
void pretrain_labs(Rehearsal& rehearsal, const Job& job, std::int64_t samples);
/// What the lab encoder and the fusion keep for `samples`; with `graph` for the backward pass.
Held fuse(Rehearsal& rehearsal, const Job& job, std::int64_t samples, bool graph);
/// Width of the features that the estimator sees: specific and shared ones.
std::int64_t feature_width(const Job& job);

}  // namespace medfuse::plan
