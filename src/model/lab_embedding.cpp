#include "src/model/lab_embedding.h"

#include "src/model/seed.h"

namespace medfuse::model {

LabEmbedding::LabEmbedding(std::int64_t columns, std::int64_t width) {
  slope_CH_ = register_parameter("slope", torch::empty({columns, width}));
  offset_CH_ = register_parameter("offset", torch::empty({columns, width}));
  columns_CW_ = register_parameter("columns", torch::empty({columns, width}));
  projection_ = register_module("projection", torch::nn::Linear(width, width));
}

void LabEmbedding::seed(std::uint64_t seed, const std::string& prefix) {
  // Bends of the hidden units lie where the scaled values are: slope * (value - bend), bends spread around 1/2.
  const torch::NoGradGuard no_grad;
  seed_normal(slope_CH_, 4.0, seed, prefix + "slope");
  seed_normal(offset_CH_, 0.3, seed, prefix + "offset");
  offset_CH_.add_(0.5).mul_(slope_CH_).neg_();
  seed_normal(columns_CW_, 0.5, seed, prefix + "columns");
}

at::Tensor LabEmbedding::forward(const at::Tensor& values_BC, const at::Tensor& flat_N) {
  const at::Tensor hidden_BCH = at::relu(at::addcmul(offset_CH_, values_BC.unsqueeze(2), slope_CH_));
  const at::Tensor hidden_NH = hidden_BCH.flatten(0, 1).index_select(0, flat_N);
  const at::Tensor columns_NW =
      columns_CW_.expand({values_BC.size(0), -1, -1}).reshape({-1, columns_CW_.size(1)}).index_select(0, flat_N);
  return projection_(hidden_NH) + columns_NW;
}

}  // namespace medfuse::model
