// The loops of kernels.h, for one instruction set: included once by each file that is compiled for one, which defines
// MEDFUSE_KERNEL_SET as the name of its namespace. Products and sums are never contracted (a compile option) and sums
// are kept in a fixed number of lanes, so that every set gives the same bits.
#pragma once

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "base/random.h"
#include "src/ops/kernels.h"

#ifndef MEDFUSE_KERNEL_SET
#define MEDFUSE_KERNEL_SET baseline
#endif
#define MEDFUSE_INLINE inline __attribute__((always_inline))

namespace medfuse::ops::kernels::MEDFUSE_KERNEL_SET {

namespace {

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
/// |r| <= ln(2) / 2, a Taylor polynomial for e^r, and n put into the exponent bits. x is held within +-60: next to 1
/// nothing changes below e^-60, and a quotient by more than e^60 could be subnormal, which costs a hundred cycles.
MEDFUSE_INLINE float exponential(float x) {
  x = x < -60.0f ? -60.0f : x;
  x = x > 60.0f ? 60.0f : x;
  constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  const float shifted = x * 1.44269504088896f + round_magic;  // its lowest bits are n
  const float n = shifted - round_magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440054690e-4f;  // ln 2 in two parts
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 127) << 23);
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

}  // namespace

template <class T>
void dropout(T* out, const T* x, bool accumulate, const DropoutRows& rows, std::int64_t begin, std::int64_t end,
             std::int64_t width) {
  using Wide = WideOf<T>;
  static_assert(std::endian::native == std::endian::little, "an even feature takes the lower half of its pair's key");
  using Key = std::uint64_t __attribute__((may_alias));
  constexpr std::int64_t chunk = 512;
  alignas(64) std::uint32_t halves[chunk + 2];
  Key* const keys = reinterpret_cast<Key*>(halves);
  const auto scale = static_cast<Wide>(rows.scale);
  const std::uint32_t threshold = rows.threshold;
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t token = rows.tokens != nullptr ? rows.tokens[r] : r % rows.rows_per_sample;
    std::uint64_t k = static_cast<std::uint64_t>(rows.sample_keys[r / rows.rows_per_sample]);
    for (const std::uint64_t c : {rows.layer, rows.site, static_cast<std::uint64_t>(token)}) k = mix(k ^ mix(c));
    for (std::int64_t start = 0; start < width; start += chunk) {
      const std::int64_t count = std::min(chunk, width - start);
      const std::uint64_t* const mixes = rows.pair_mixes + start / 2;
      const std::int64_t pairs = (rows.odd + count + 1) / 2;
      for (std::int64_t i = 0; i < pairs; ++i) keys[i] = mix(k ^ mixes[i]);
      const std::uint32_t* const draws = halves + rows.odd;
      const T* const source = x + r * width + start;
      T* const target = out + r * width + start;
      if (accumulate) {
        for (std::int64_t d = 0; d < count; ++d) {
          store(target + d, load(target + d) + (draws[d] >= threshold ? load(source + d) * scale : Wide(0)));
        }
      } else {
        for (std::int64_t d = 0; d < count; ++d) {
          store(target + d, draws[d] >= threshold ? load(source + d) * scale : Wide(0));
        }
      }
    }
  }
}

template <class T, class Wide>
void rms_norm(T* y, Wide* inverse, const T* x, const T* w, double epsilon, std::int64_t begin, std::int64_t end,
              std::int64_t width) {
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

template <class T, class Wide>
void rms_norm_backward(T* dx, const T* dy, const Wide* inverse, const T* x, const T* w, std::int64_t begin,
                       std::int64_t end, std::int64_t width) {
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

template <class T, class Wide>
void rotary(T* y, const T* x, const Wide* cos, const Wide* sin, int sign, std::int64_t begin, std::int64_t end,
            std::int64_t heads, std::int64_t half) {
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
void swiglu(T* y, const T* gate, const T* up, std::int64_t count) {
  using Wide = WideOf<T>;
  for (std::int64_t i = 0; i < count; ++i) {
    const Wide g = load(gate + i);
    store(y + i, g / (Wide(1) + exponential(-g)) * load(up + i));
  }
}

template <class T>
void swiglu_backward(T* dgate, T* dup, const T* dy, const T* gate, const T* up, std::int64_t count) {
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

#define MEDFUSE_INSTANTIATE(T, WIDE)                                                                                 \
  template void dropout<T>(T*, const T*, bool, const DropoutRows&, std::int64_t, std::int64_t, std::int64_t);        \
  template void rms_norm<T, WIDE>(T*, WIDE*, const T*, const T*, double, std::int64_t, std::int64_t, std::int64_t);  \
  template void rms_norm_backward<T, WIDE>(T*, const T*, const WIDE*, const T*, const T*, std::int64_t,              \
                                           std::int64_t, std::int64_t);                                              \
  template void rotary<T, WIDE>(T*, const T*, const WIDE*, const WIDE*, int, std::int64_t, std::int64_t,             \
                                std::int64_t, std::int64_t);                                                         \
  template void swiglu<T>(T*, const T*, const T*, std::int64_t);                                                     \
  template void swiglu_backward<T>(T*, T*, const T*, const T*, const T*, std::int64_t);

MEDFUSE_INSTANTIATE(float, float)
MEDFUSE_INSTANTIATE(double, double)
MEDFUSE_INSTANTIATE(c10::BFloat16, float)

}  // namespace medfuse::ops::kernels::MEDFUSE_KERNEL_SET
