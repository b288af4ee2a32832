// Whether the fusion's parts came apart without falling silent: a shared part that collapsed to a constant has no mutual
// information with the others either, so each part must also show that it predicts on its own.
#pragma once

#include <cstdint>

#include "src/evaluate/inference.h"
#include "src/evaluate/scores.h"

namespace medfuse::evaluate {

/// Probes (L2-regularised logistic regression) and a fresh estimator, both on standardised features, are fitted on
/// `fitted`, the validation split, and judged on the rows of `judged`. A fifth of `fitted` decides when the estimator has
/// learned enough. Held-out figures only where the two share no rows. A function of the arguments alone; not collective.
/// Throws std::logic_error where an inference lacks its parts or its labels, or fewer than 2 rows are there to fit on.
Disentanglement disentanglement(const Inference& fitted, const Inference& judged, std::uint64_t seed);

}  // namespace medfuse::evaluate
