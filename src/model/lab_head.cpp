#include "src/model/lab_head.h"

#include <cmath>
#include <limits>

#include "src/model/seed.h"

namespace medfuse::model {

LabHead::LabHead(std::int64_t columns, std::int64_t width, const LabKnots& knots) {
  if (knots.defined()) {
    const std::int64_t count = knots.knots_CK.size(1);
    weight_ = register_parameter("weight", torch::empty({columns, width, count}));
    bias_ = register_parameter("bias", torch::empty({columns, 1, count}));
    knots_C1K_ = register_buffer("knots", knots.knots_CK.unsqueeze(1));
  } else {
    weight_ = register_parameter("weight", torch::empty({columns, width}));
    bias_ = register_parameter("bias", torch::empty({columns}));
  }
}

void LabHead::seed(std::uint64_t seed, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  seed_normal(weight_, 1.0 / std::sqrt(static_cast<double>(weight_.size(1))), seed, prefix + "weight");
  bias_.zero_();
}

LabPrediction LabHead::forward(const at::Tensor& x_BCW) {
  if (!knots_C1K_.defined()) return {at::sigmoid((x_BCW * weight_).sum(2) + bias_), {}};
  const at::Tensor absent_C1K = knots_C1K_.isinf();
  const at::Tensor logits_CBK = at::baddbmm(bias_, x_BCW.transpose(0, 1), weight_)
                                    .masked_fill(absent_C1K, -std::numeric_limits<double>::infinity());
  const at::Tensor log_CBK = at::log_softmax(logits_CBK, 2);
  const at::Tensor mean_CB = (log_CBK.exp() * knots_C1K_.masked_fill(absent_C1K, 0)).sum(2);
  return {mean_CB.t(), log_CBK.transpose(0, 1)};
}

}  // namespace medfuse::model
