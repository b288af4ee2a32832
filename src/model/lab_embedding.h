// Tokens of lab values: a value embedding plus a column embedding.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace medfuse::model {

/// One hidden layer per column on the value, a projection shared by all columns, plus a learned vector per column.
class LabEmbedding : public torch::nn::Module {
 public:
  LabEmbedding(std::int64_t columns, std::int64_t width);

  /// Fills what seed_parameters() cannot know; `prefix` ends the name of this module.
  void seed(std::uint64_t seed, const std::string& prefix);

  /// values_BC (finite everywhere; scaled) and flat_N = row * C + column of the wanted cells -> [N, width].
  at::Tensor forward(const at::Tensor& values_BC, const at::Tensor& flat_N);

 private:
  at::Tensor slope_CH_, offset_CH_, columns_CW_;
  torch::nn::Linear projection_{nullptr};
};

}  // namespace medfuse::model
