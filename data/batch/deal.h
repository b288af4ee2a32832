// Deals a global batch over n parts with about equal numbers of tokens, and cuts each part into micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch/order.h"

namespace medfuse::data {

/// The micro-batches of part `part` of `parts`: at most `micro_batch` draws each, of similar lengths, longest first.
/// `lengths[draw.index]` is a sample's number of tokens. Over all parts every draw of `batch` comes exactly once,
/// whatever `parts` is; parts differ by at most one draw, and a part is empty when there are more parts than draws.
/// Deterministic. Throws std::logic_error for a part, size or index out of range.
std::vector<std::vector<Draw>> micro_batches(std::vector<Draw> batch, int part, int parts, std::int64_t micro_batch,
                                             std::span<const std::int32_t> lengths);

}  // namespace medfuse::data
