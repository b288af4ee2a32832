#include "src/ops/rows.h"

#include <ATen/Parallel.h>

#include <algorithm>

// at::parallel_for is a template that is serial unless the file that includes it is compiled with OpenMP.
#ifndef _OPENMP
#error "compile this file with OpenMP"
#endif

namespace medfuse::ops {

void parallel_rows(std::int64_t rows, std::int64_t row_cost, c10::function_ref<void(std::int64_t, std::int64_t)> body) {
  constexpr std::int64_t grain_elements = 1 << 15;  // about 10 microseconds of work
  const std::int64_t grain = std::max<std::int64_t>(1, grain_elements / std::max<std::int64_t>(1, row_cost));
  at::parallel_for(0, rows, grain, [&](std::int64_t begin, std::int64_t end) { body(begin, end); });
}

}  // namespace medfuse::ops
