#include "src/train/adamw_kernel.h"

#include <cmath>

// One copy of the loop for each vector width, chosen when the program is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define MEDFUSE_VECTOR_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MEDFUSE_VECTOR_CLONES
#endif

namespace medfuse::train {

MEDFUSE_VECTOR_CLONES
void adamw_kernel(float* __restrict value, float* __restrict moment1, float* __restrict moment2,
                  const float* __restrict gradient, std::size_t n, const AdamWFactors& factors) {
  const auto rate = static_cast<float>(factors.rate), keep = static_cast<float>(1 - factors.decay);
  const auto correction = static_cast<float>(factors.root_correction), epsilon = static_cast<float>(factors.epsilon);
  const auto gain1 = static_cast<float>(1 - factors.beta1), gain2 = static_cast<float>(1 - factors.beta2);
  const auto beta2 = static_cast<float>(factors.beta2), scale = static_cast<float>(factors.gradient_scale);
  for (std::size_t i = 0; i < n; ++i) {
    const float g = gradient[i] * scale;
    const float m = moment1[i] + gain1 * (g - moment1[i]);
    const float v = beta2 * moment2[i] + gain2 * (g * g);
    moment1[i] = m;
    moment2[i] = v;
    value[i] = value[i] * keep - rate * (m / (std::sqrt(v) / correction + epsilon));
  }
}

MEDFUSE_VECTOR_CLONES
void adamw_kernel(double* __restrict value, double* __restrict moment1, double* __restrict moment2,
                  const double* __restrict gradient, std::size_t n, const AdamWFactors& factors) {
  const double rate = factors.rate, keep = 1 - factors.decay;
  const double correction = factors.root_correction, epsilon = factors.epsilon;
  const double gain1 = 1 - factors.beta1, gain2 = 1 - factors.beta2;
  const double beta2 = factors.beta2, scale = factors.gradient_scale;
  for (std::size_t i = 0; i < n; ++i) {
    const double g = gradient[i] * scale;
    const double m = moment1[i] + gain1 * (g - moment1[i]);
    const double v = beta2 * moment2[i] + gain2 * (g * g);
    moment1[i] = m;
    moment2[i] = v;
    value[i] = value[i] * keep - rate * (m / (std::sqrt(v) / correction + epsilon));
  }
}

}  // namespace medfuse::train
