#include "src/model/tensor_parallel.h"

#include <stdexcept>

#include "base/error.h"

namespace medfuse::model {

namespace {

bool fits(std::int64_t size, std::int64_t heads, std::int64_t key_heads, std::int64_t inner_width) {
  return heads % size == 0 && inner_width % size == 0 && (key_heads % size == 0 || size % key_heads == 0);
}

}  // namespace

TensorParallelPtr no_tensor_parallel() {
  static const auto none = std::make_shared<const TensorParallel>();
  return none;
}

Span equal_share(std::int64_t global, const TensorParallel& ranks) {
  if (global % ranks.size != 0) throw std::logic_error("equal_share: the ranks do not divide it");
  const std::int64_t length = global / ranks.size;
  return {ranks.rank * length, length, global};
}

Span head_share(std::int64_t heads, const TensorParallel& ranks) {
  if (heads >= ranks.size) return equal_share(heads, ranks);
  if (ranks.size % heads != 0) throw std::logic_error("head_share: heads do not divide the ranks");
  return {ranks.rank * heads / ranks.size, 1, heads};
}

std::string degree_obstacle(std::int64_t size, std::int64_t heads, std::int64_t key_heads, std::int64_t inner_width) {
  if (size >= 1 && fits(size, heads, key_heads, inner_width)) return "";
  return fmt::format("does not split the {} heads, {} key/value heads and inner width {} of text.model evenly", heads,
                     key_heads, inner_width);
}

void check_tensor_degree(int size, std::int64_t heads, std::int64_t key_heads, std::int64_t inner_width) {
  const std::string obstacle = degree_obstacle(size, heads, key_heads, inner_width);
  if (obstacle.empty()) return;
  std::string working;
  for (std::int64_t degree = 1; degree <= heads; ++degree) {
    if (fits(degree, heads, key_heads, inner_width)) working += (working.empty() ? "" : ", ") + std::to_string(degree);
  }
  usage_error("parallel.tensor: {} {}; degrees that work: {}", size, obstacle, working);
}

}  // namespace medfuse::model
