// Tokens of lab values: a value embedding plus a column embedding.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <string>

#include "src/model/lab_knots.h"

namespace medfuse::model {

/// Without knots: one hidden layer per column on the value and a projection shared by all columns. With knots: a learned
/// vector at each, and between two of them the point on the line. Plus a learned vector per column.
class LabEmbedding : public torch::nn::Module {
 public:
  LabEmbedding(std::int64_t columns, std::int64_t width, const LabKnots& knots);

  /// Fills what seed_parameters() cannot know; `prefix` ends the name of this module.
  void seed(std::uint64_t seed, const std::string& prefix);

  /// values_BC (finite everywhere; scaled) and flat_N = row * C + column of the wanted cells -> [N, width].
  at::Tensor forward(const at::Tensor& values_BC, const at::Tensor& flat_N);

 private:
  at::Tensor bent(const at::Tensor& values_BC, const at::Tensor& flat_N);
  at::Tensor between_knots(const at::Tensor& values_BC, const at::Tensor& flat_N);

  at::Tensor columns_CW_;
  at::Tensor slope_CH_, offset_CH_;
  torch::nn::Linear projection_{nullptr};
  at::Tensor knots_CK_, vectors_MW_;  // M = C * K
};

}  // namespace medfuse::model
