// A training state to save: every type and the odd shapes, replicated and sharded over any number of ranks.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

#include "src/checkpoint/tensors.h"

namespace medfuse::checkpoint {

/// What the tensors hold as a whole. `tag` changes every value.
inline std::map<std::string, at::Tensor> whole_state(std::int64_t tag) {
  const auto values = [&](at::IntArrayRef shape, std::int64_t salt) {
    std::int64_t n = 1;
    for (const std::int64_t d : shape) n *= d;
    return ((at::arange(n, at::kDouble) + static_cast<double>(37 * tag + salt)) * 0.37).sin().reshape(shape);
  };
  return {{"text/q.lora_a", values({300, 1000}, 1).to(at::kFloat)},  // 1.2 MB: two blocks
          {"text/q.lora_b", values({64, 16}, 2).to(at::kBFloat16)},
          {"text/norm", values({7}, 3).to(at::kHalf)},
          {"labs.weight", values({5, 6, 7}, 4)},
          {"labs.scalar", values({}, 5).to(at::kFloat)},
          {"labs.empty", at::empty({0, 4})},
          {"steps", at::arange(9) * 1000 + tag},
          {"flags", (values({11}, 6) > 0)},
          {"bytes", (values({1 << 20}, 7).abs() * 255).to(at::kByte)},  // exactly one block
          {"small", (values({3}, 8) * 100).to(at::kInt)},
          {"rows", values({13, 50}, 9).to(at::kFloat)},
          {"columns", values({40, 13}, 10).to(at::kFloat)}};
}

/// Rank `rank` of `size`: "rows" and "columns" are cut over the ranks along dimension 0 and 1, the rest replicated.
inline std::vector<ShardedTensor> local_state(std::int64_t tag, int rank, int size) {
  std::vector<ShardedTensor> tensors;
  for (const auto& [name, tensor] : whole_state(tag)) {
    const std::int64_t begin = 13 * rank / size, end = 13 * (rank + 1) / size;
    if (name == "rows") tensors.push_back(sharded(name, tensor.slice(0, begin, end), 0, begin, 13));
    else if (name == "columns") tensors.push_back(sharded(name, tensor.slice(1, begin, end), 1, begin, 13));
    else tensors.push_back(replicated(name, tensor));
  }
  return tensors;
}

inline bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b);
}

}  // namespace medfuse::checkpoint
