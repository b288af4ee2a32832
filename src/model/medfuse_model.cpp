#include "src/model/medfuse_model.h"

#include "base/error.h"
#include "base/random.h"
#include "src/model/seed.h"

namespace medfuse::model {

at::ScalarType compute_type(const std::string& precision) {
  if (precision == "f32") return torch::kFloat32;
  if (precision == "bf16") return torch::kBFloat16;
  if (precision == "f64") return torch::kFloat64;
  usage_error("precision = '{}' is not known: f32, bf16, f64", precision);
}

MedfuseModel::MedfuseModel(const ModelOptions& options, const TensorParallelPtr& ranks, const WeightStorePtr& store)
    : MedfuseModel(options, TextEncoder::load(options.text, compute_type(options.precision), options.seed, ranks, store)) {}

MedfuseModel::MedfuseModel(const ModelOptions& options, std::shared_ptr<TextEncoder> text_encoder)
    : text(std::move(text_encoder)),
      state_type_(compute_type(options.precision) == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32) {
  register_module("text", text);
  text_head = register_module("text_head", torch::nn::Linear(text->width(), options.diseases));
  labs = register_module("labs", std::make_shared<LabTransformer>(options.labs, options.lab_columns, options.seed));
  fusion = register_module("fusion", std::make_shared<Fusion>(options.fusion, text->width(), options.labs.width,
                                                              options.diseases, options.seed));
  if (fusion->uses_both()) {
    estimator = register_module(
        "estimator", std::make_shared<ClubEstimator>(fusion->specific_width(), fusion->shared_width(),
                                                     options.fusion.estimator_width, options.seed));
    estimator->to(state_type_);
  }
  seed_parameters(*text_head, options.seed, "text_head");
  text_head->to(state_type_);
  labs->to(state_type_);
  fusion->to(state_type_);
  text->set_recompute(recompute_mode(options.recompute));
  labs->set_recompute(recompute_mode(options.recompute));
}

at::Tensor MedfuseModel::embed(const at::Tensor& tokens_BL, const at::Tensor& lengths_B, const ops::DropoutKeys& keys) {
  return text->embed(tokens_BL, lengths_B, keys).to(state_type_);
}

MedfuseModel::Named MedfuseModel::trainable(const std::vector<std::string>& prefixes) const {
  Named chosen;
  for (const auto& item : named_parameters()) {
    const bool wanted = prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
      return item.key().rfind(prefix, 0) == 0;
    });
    if (wanted && item.value().requires_grad()) chosen.emplace_back(item.key(), item.value());
  }
  return chosen;
}

}  // namespace medfuse::model
