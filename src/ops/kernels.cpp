#include "src/ops/kernels.h"

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "base/random.h"

namespace medfuse::ops::kernels {

namespace {

// One copy per instruction set, picked when the program is loaded. Products and sums are never contracted (compile
// option) and sums are kept in a fixed number of lanes, so that the copies agree to the last bit.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MEDFUSE_CLONES __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define MEDFUSE_CLONES
#endif
#define MEDFUSE_INLINE inline __attribute__((always_inline))

template <class T>
using WideOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

MEDFUSE_INLINE float load(const float* p) { return *p; }
MEDFUSE_INLINE double load(const double* p) { return *p; }
MEDFUSE_INLINE float load(const c10::BFloat16* p) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(p->x) << 16);
}
MEDFUSE_INLINE void store(float* p, float v) { *p = v; }
MEDFUSE_INLINE void store(double* p, double v) { *p = v; }
/// Round to nearest even; NaN stays NaN.
MEDFUSE_INLINE void store(c10::BFloat16* p, float v) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  p->x = static_cast<std::uint16_t>(v != v ? 0x7fc0 : rounded);
}

/// e^x to about 2 units in the last place of float32, written so that it becomes vector code: x = n ln 2 + r with
/// |r| <= ln(2) / 2, a Taylor polynomial for e^r, and n put into the exponent bits.
MEDFUSE_INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  const float n = (x * 1.44269504088896f + round_magic) - round_magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440054690e-4f;  // ln 2 in two parts
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}
MEDFUSE_INLINE double exponential(double x) { return std::exp(x); }

constexpr int lanes = 16;

template <class Wide>
MEDFUSE_INLINE Wide fold(Wide (&sums)[lanes]) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) sums[i] += sums[i + step];
  }
  return sums[0];
}

template <class T>
MEDFUSE_INLINE void dropout_impl(T* out, const T* x, bool accumulate, const DropoutRows& rows, std::int64_t begin,
                                 std::int64_t end, std::int64_t width) {
  using Wide = WideOf<T>;
  const auto scale = static_cast<Wide>(rows.scale);
  const std::int64_t threshold = static_cast<std::int64_t>(rows.threshold);
  const std::uint64_t* const mixes = rows.feature_mixes;
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t token = rows.tokens != nullptr ? rows.tokens[r] : r % rows.rows_per_sample;
    std::uint64_t k = static_cast<std::uint64_t>(rows.sample_keys[r / rows.rows_per_sample]);
    for (const std::uint64_t c : {rows.layer, rows.site, static_cast<std::uint64_t>(token)}) k = mix(k ^ mix(c));
    const T* const source = x + r * width;
    T* const target = out + r * width;
    if (accumulate) {
      for (std::int64_t d = 0; d < width; ++d) {
        const bool kept = static_cast<std::int64_t>(mix(k ^ mixes[d]) >> 11) >= threshold;
        store(target + d, load(target + d) + (kept ? load(source + d) * scale : Wide(0)));
      }
    } else {
      for (std::int64_t d = 0; d < width; ++d) {
        const bool kept = static_cast<std::int64_t>(mix(k ^ mixes[d]) >> 11) >= threshold;
        store(target + d, kept ? load(source + d) * scale : Wide(0));
      }
    }
  }
}

template <class T>
MEDFUSE_INLINE void rms_norm_impl(T* y, WideOf<T>* inverse, const T* x, const T* w, double epsilon, std::int64_t begin,
                                  std::int64_t end, std::int64_t width) {
  using Wide = WideOf<T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* const source = x + r * width;
    T* const target = y + r * width;
    Wide sums[lanes] = {};
    std::int64_t d = 0;
    for (; d + lanes <= width; d += lanes) {
      for (int i = 0; i < lanes; ++i) sums[i] += load(source + d + i) * load(source + d + i);
    }
    for (; d < width; ++d) sums[0] += load(source + d) * load(source + d);
    const Wide scale = Wide(1) / std::sqrt(fold(sums) / static_cast<Wide>(width) + static_cast<Wide>(epsilon));
    inverse[r] = scale;
    for (d = 0; d < width; ++d) store(target + d, load(source + d) * scale * load(w + d));
  }
}

template <class T>
MEDFUSE_INLINE void rms_norm_backward_impl(T* dx, const T* dy, const WideOf<T>* inverse, const T* x, const T* w,
                                           std::int64_t begin, std::int64_t end, std::int64_t width) {
  using Wide = WideOf<T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* const source = x + r * width;
    const T* const gradient = dy + r * width;
    T* const target = dx + r * width;
    Wide sums[lanes] = {};
    std::int64_t d = 0;
    for (; d + lanes <= width; d += lanes) {
      for (int i = 0; i < lanes; ++i) {
        sums[i] += load(gradient + d + i) * load(w + d + i) * load(source + d + i);
      }
    }
    for (; d < width; ++d) sums[0] += load(gradient + d) * load(w + d) * load(source + d);
    const Wide scale = inverse[r];
    const Wide slope = fold(sums) * scale * scale / static_cast<Wide>(width);
    for (d = 0; d < width; ++d) {
      store(target + d, (load(gradient + d) * load(w + d) - load(source + d) * slope) * scale);
    }
  }
}

template <class T>
MEDFUSE_INLINE void rotary_impl(T* y, const T* x, const WideOf<T>* cos, const WideOf<T>* sin, int sign,
                                std::int64_t begin, std::int64_t end, std::int64_t heads, std::int64_t half) {
  using Wide = WideOf<T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const Wide* const c = cos + r * half;
    const Wide* const s = sin + r * half;
    for (std::int64_t h = 0; h < heads; ++h) {
      const T* const source = x + (r * heads + h) * 2 * half;
      T* const target = y + (r * heads + h) * 2 * half;
      for (std::int64_t i = 0; i < half; ++i) {
        const Wide turn = static_cast<Wide>(sign) * s[i];
        const Wide a = load(source + i);
        const Wide b = load(source + half + i);
        store(target + i, a * c[i] - b * turn);
        store(target + half + i, b * c[i] + a * turn);
      }
    }
  }
}

template <class T>
MEDFUSE_INLINE void swiglu_impl(T* y, const T* gate, const T* up, std::int64_t count) {
  using Wide = WideOf<T>;
  for (std::int64_t i = 0; i < count; ++i) {
    const Wide g = load(gate + i);
    store(y + i, g / (Wide(1) + exponential(-g)) * load(up + i));
  }
}

template <class T>
MEDFUSE_INLINE void swiglu_backward_impl(T* dgate, T* dup, const T* dy, const T* gate, const T* up,
                                         std::int64_t count) {
  using Wide = WideOf<T>;
  for (std::int64_t i = 0; i < count; ++i) {
    const Wide g = load(gate + i);
    const Wide u = load(up + i);
    const Wide d = load(dy + i);
    const Wide sigmoid = Wide(1) / (Wide(1) + exponential(-g));
    store(dgate + i, d * u * sigmoid * (Wide(1) + g * (Wide(1) - sigmoid)));
    store(dup + i, d * g * sigmoid);
  }
}

}  // namespace

// Clones are made of functions, not of templates: one set of thin functions per type.
#define MEDFUSE_KERNELS(T, NAME)                                                                                       \
  MEDFUSE_CLONES static void dropout_##NAME(T* out, const T* x, bool accumulate, const DropoutRows& rows,              \
                                            std::int64_t begin, std::int64_t end, std::int64_t width) {                \
    dropout_impl(out, x, accumulate, rows, begin, end, width);                                                         \
  }                                                                                                                    \
  MEDFUSE_CLONES static void rms_norm_##NAME(T* y, WideOf<T>* inverse, const T* x, const T* w, double epsilon,         \
                                             std::int64_t begin, std::int64_t end, std::int64_t width) {               \
    rms_norm_impl(y, inverse, x, w, epsilon, begin, end, width);                                                       \
  }                                                                                                                    \
  MEDFUSE_CLONES static void rms_norm_backward_##NAME(T* dx, const T* dy, const WideOf<T>* inverse, const T* x,        \
                                                      const T* w, std::int64_t begin, std::int64_t end,                \
                                                      std::int64_t width) {                                            \
    rms_norm_backward_impl(dx, dy, inverse, x, w, begin, end, width);                                                  \
  }                                                                                                                    \
  MEDFUSE_CLONES static void rotary_##NAME(T* y, const T* x, const WideOf<T>* cos, const WideOf<T>* sin, int sign,     \
                                           std::int64_t begin, std::int64_t end, std::int64_t heads,                   \
                                           std::int64_t half) {                                                        \
    rotary_impl(y, x, cos, sin, sign, begin, end, heads, half);                                                        \
  }                                                                                                                    \
  MEDFUSE_CLONES static void swiglu_##NAME(T* y, const T* gate, const T* up, std::int64_t count) {                     \
    swiglu_impl(y, gate, up, count);                                                                                   \
  }                                                                                                                    \
  MEDFUSE_CLONES static void swiglu_backward_##NAME(T* dgate, T* dup, const T* dy, const T* gate, const T* up,         \
                                                    std::int64_t count) {                                              \
    swiglu_backward_impl(dgate, dup, dy, gate, up, count);                                                             \
  }                                                                                                                    \
  template <>                                                                                                          \
  void dropout<T>(T * out, const T* x, bool accumulate, const DropoutRows& rows, std::int64_t begin, std::int64_t end, \
                  std::int64_t width) {                                                                                \
    dropout_##NAME(out, x, accumulate, rows, begin, end, width);                                                       \
  }                                                                                                                    \
  template <>                                                                                                          \
  void rms_norm<T, WideOf<T>>(T * y, WideOf<T> * inverse, const T* x, const T* w, double epsilon, std::int64_t begin,  \
                              std::int64_t end, std::int64_t width) {                                                  \
    rms_norm_##NAME(y, inverse, x, w, epsilon, begin, end, width);                                                     \
  }                                                                                                                    \
  template <>                                                                                                          \
  void rms_norm_backward<T, WideOf<T>>(T * dx, const T* dy, const WideOf<T>* inverse, const T* x, const T* w,          \
                                       std::int64_t begin, std::int64_t end, std::int64_t width) {                     \
    rms_norm_backward_##NAME(dx, dy, inverse, x, w, begin, end, width);                                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  void rotary<T, WideOf<T>>(T * y, const T* x, const WideOf<T>* cos, const WideOf<T>* sin, int sign,                   \
                            std::int64_t begin, std::int64_t end, std::int64_t heads, std::int64_t half) {             \
    rotary_##NAME(y, x, cos, sin, sign, begin, end, heads, half);                                                      \
  }                                                                                                                    \
  template <>                                                                                                          \
  void swiglu<T>(T * y, const T* gate, const T* up, std::int64_t count) {                                              \
    swiglu_##NAME(y, gate, up, count);                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void swiglu_backward<T>(T * dgate, T * dup, const T* dy, const T* gate, const T* up, std::int64_t count) {           \
    swiglu_backward_##NAME(dgate, dup, dy, gate, up, count);                                                           \
  }

MEDFUSE_KERNELS(float, f32)
MEDFUSE_KERNELS(double, f64)
MEDFUSE_KERNELS(c10::BFloat16, bf16)

}  // namespace medfuse::ops::kernels
