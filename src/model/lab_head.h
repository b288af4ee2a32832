// From the decoder's tokens to a prediction of every column.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>

#include "src/model/lab_transformer.h"

namespace medfuse::model {

/// Without knots: a linear function per column and a sigmoid. With knots: a linear function per column and knot, a
/// softmax over the knots, and the mean.
class LabHead : public torch::nn::Module {
 public:
  LabHead(std::int64_t columns, std::int64_t width, const LabKnots& knots);

  /// Fills what seed_parameters() cannot know; `prefix` ends the name of this module.
  void seed(std::uint64_t seed, const std::string& prefix);

  /// x_BCW: the columns' tokens.
  LabPrediction forward(const at::Tensor& x_BCW);

 private:
  at::Tensor weight_;   // [C, W], or [C, W, K] with knots
  at::Tensor bias_;     // [C], or [C, 1, K]
  at::Tensor knots_C1K_;  // +infinity where a column has no more
};

}  // namespace medfuse::model
