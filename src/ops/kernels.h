// Loops over rows of host memory behind the operations of this folder: plain C++ that the compiler turns into vector
// code, compiled for several instruction sets of which the best that the processor has is used, with the same bits.
// T: float, double or c10::BFloat16; Wide: double beside double, else float, in which everything is computed.
#pragma once

#include <cstdint>

namespace medfuse::ops::kernels {

/// Where the masks of one dropout call come from; see src/ops/dropout.h.
struct DropoutRows {
  const std::int64_t* sample_keys;
  const std::int64_t* tokens;        ///< null: row number modulo rows_per_sample
  std::int64_t rows_per_sample;
  const std::uint64_t* pair_mixes;   ///< mix(p) for the pairs p of global features that the columns lie in
  std::int64_t odd;                  ///< 1 if the first column is the second of its pair
  std::uint64_t layer;
  std::uint64_t site;
  std::uint32_t threshold;           ///< kept if the element's 32 bits are not below
  double scale;                      ///< 1 / (1 - p)
};

#define MEDFUSE_KERNEL_DECLARATIONS                                                                                    \
  /** out = mask(x) * scale, or out += mask(x) * scale. */                                                             \
  template <class T>                                                                                                   \
  void dropout(T* out, const T* x, bool accumulate, const DropoutRows& rows, std::int64_t begin, std::int64_t end,     \
               std::int64_t width);                                                                                    \
  /** y = x * inverse * w with inverse = 1 / sqrt(mean(x^2) + epsilon), kept for the way back. */                      \
  template <class T, class Wide>                                                                                       \
  void rms_norm(T* y, Wide* inverse, const T* x, const T* w, double epsilon, std::int64_t begin, std::int64_t end,     \
                std::int64_t width);                                                                                   \
  /** dx = inverse * (dy w - x inverse^2 mean(dy w x)). */                                                             \
  template <class T, class Wide>                                                                                       \
  void rms_norm_backward(T* dx, const T* dy, const Wide* inverse, const T* x, const T* w, std::int64_t begin,          \
                         std::int64_t end, std::int64_t width);                                                        \
  /** Turns the pairs (x[i], x[i + half]) of every head by the row's angles; sign -1 turns back. */                    \
  template <class T, class Wide>                                                                                       \
  void rotary(T* y, const T* x, const Wide* cos, const Wide* sin, int sign, std::int64_t begin, std::int64_t end,      \
              std::int64_t heads, std::int64_t half);                                                                  \
  /** y = gate * sigmoid(gate) * up. */                                                                                \
  template <class T>                                                                                                   \
  void swiglu(T* y, const T* gate, const T* up, std::int64_t count);                                                   \
  template <class T>                                                                                                   \
  void swiglu_backward(T* dgate, T* dup, const T* dy, const T* gate, const T* up, std::int64_t count);

namespace baseline {
MEDFUSE_KERNEL_DECLARATIONS
}
#ifdef MEDFUSE_HAVE_AVX2
namespace avx2 {
MEDFUSE_KERNEL_DECLARATIONS
}
inline bool use_avx2() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
/// Calls one kernel in the best set.
#define MEDFUSE_KERNEL(NAME, ...)                                                                      \
  (::medfuse::ops::kernels::use_avx2() ? ::medfuse::ops::kernels::avx2::NAME(__VA_ARGS__)              \
                                       : ::medfuse::ops::kernels::baseline::NAME(__VA_ARGS__))
#else
#define MEDFUSE_KERNEL(NAME, ...) ::medfuse::ops::kernels::baseline::NAME(__VA_ARGS__)
#endif

}  // namespace medfuse::ops::kernels
