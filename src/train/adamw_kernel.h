// The inner loop of AdamW over plain arrays, free of LibTorch so that it can be compiled for speed by itself.
#pragma once

#include <cstddef>

#include "src/train/adamw_factors.h"

namespace medfuse::train {

/// Updates value, moment1 and moment2 [n] from gradient [n]; see AdamWFactors for the formula. Every operation is
/// rounded on its own (no fused multiply-add), so that the bits depend on neither vector width nor position.
void adamw_kernel(float* value, float* moment1, float* moment2, const float* gradient, std::size_t n,
                  const AdamWFactors& factors);
void adamw_kernel(double* value, double* moment1, double* moment2, const double* gradient, std::size_t n,
                  const AdamWFactors& factors);

}  // namespace medfuse::train
