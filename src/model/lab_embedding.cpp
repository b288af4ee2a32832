#include "src/model/lab_embedding.h"

#include "src/model/seed.h"

namespace medfuse::model {

LabEmbedding::LabEmbedding(std::int64_t columns, std::int64_t width, const LabKnots& knots) {
  columns_CW_ = register_parameter("columns", torch::empty({columns, width}));
  if (knots.defined()) {
    knots_CK_ = register_buffer("knots", knots.knots_CK);
    vectors_MW_ = register_parameter("vectors", torch::empty({knots.knots_CK.numel(), width}));
  } else {
    slope_CH_ = register_parameter("slope", torch::empty({columns, width}));
    offset_CH_ = register_parameter("offset", torch::empty({columns, width}));
    projection_ = register_module("projection", torch::nn::Linear(width, width));
  }
}

void LabEmbedding::seed(std::uint64_t seed, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  seed_normal(columns_CW_, 0.5, seed, prefix + "columns");
  if (vectors_MW_.defined()) {
    // A line through each column's knots, so that neighbours start alike, plus what tells each knot from the others.
    const at::Tensor line_CW = at::empty_like(columns_CW_);
    seed_normal(line_CW, 1.0, seed, prefix + "line");
    seed_normal(vectors_MW_, 0.3, seed, prefix + "vectors");
    const at::Tensor place_CK = at::where(knots_CK_.isfinite(), knots_CK_, 0).to(line_CW.scalar_type());
    vectors_MW_.add_((place_CK.unsqueeze(2) * line_CW.unsqueeze(1)).flatten(0, 1));
    return;
  }
  // Bends of the hidden units lie where the scaled values are: slope * (value - bend), bends spread around 1/2.
  seed_normal(slope_CH_, 4.0, seed, prefix + "slope");
  seed_normal(offset_CH_, 0.3, seed, prefix + "offset");
  offset_CH_.add_(0.5).mul_(slope_CH_).neg_();
}

at::Tensor LabEmbedding::bent(const at::Tensor& values_BC, const at::Tensor& flat_N) {
  const at::Tensor hidden_BCH = at::relu(at::addcmul(offset_CH_, values_BC.unsqueeze(2), slope_CH_));
  return projection_(hidden_BCH.flatten(0, 1).index_select(0, flat_N));
}

at::Tensor LabEmbedding::between_knots(const at::Tensor& values_BC, const at::Tensor& flat_N) {
  const LabPlaces places = LabKnots{knots_CK_}.locate(values_BC);
  const at::Tensor first_C = at::arange(knots_CK_.size(0), flat_N.options()) * knots_CK_.size(1);
  const at::Tensor index_N = (places.index_BC + first_C).flatten().index_select(0, flat_N);
  const at::Tensor fraction_N1 = places.fraction_BC.flatten().index_select(0, flat_N).unsqueeze(1);
  return at::lerp(at::embedding(vectors_MW_, index_N), at::embedding(vectors_MW_, index_N + 1), fraction_N1);
}

at::Tensor LabEmbedding::forward(const at::Tensor& values_BC, const at::Tensor& flat_N) {
  const at::Tensor columns_NW = at::embedding(columns_CW_, flat_N.remainder(columns_CW_.size(0)));
  return columns_NW + (vectors_MW_.defined() ? between_knots(values_BC, flat_N) : bent(values_BC, flat_N));
}

}  // namespace medfuse::model
