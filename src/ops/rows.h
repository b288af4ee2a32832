// Runs a loop over rows on the threads of LibTorch's pool.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace medfuse::ops {

/// Calls body(begin, end) for disjoint ranges that cover [0, rows). `row_cost`: elements touched per row; small jobs stay
/// on the calling thread.
void parallel_rows(std::int64_t rows, std::int64_t row_cost, c10::function_ref<void(std::int64_t, std::int64_t)> body);

}  // namespace medfuse::ops
