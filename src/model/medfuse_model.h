// All that is trained, together: text encoder with its head, lab transformer, fusion transformer and the estimator of the
// mutual-information loss.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/model/club.h"
#include "src/model/fusion.h"
#include "src/model/lab_transformer.h"
#include "src/model/options.h"
#include "src/model/text_encoder.h"

namespace medfuse::model {

struct ModelOptions {
  TextOptions text;
  LabOptions labs;
  FusionOptions fusion;
  std::string precision = "f32";  ///< f32, bf16 or f64
  std::string recompute = "none";  ///< by the blocks of both encoders in backward passes: none, attention or full
  std::uint64_t seed = 1;
  std::int64_t lab_columns = 0;
  std::int64_t diseases = 0;
};

/// kFloat, kBFloat16 or kDouble. Throws Error(usage) for another word.
at::ScalarType compute_type(const std::string& precision);

class MedfuseModel : public torch::nn::Module {
 public:
  /// Reads the text encoder's weights from options.text.model. Heads and small models are float32, or float64 with
  /// precision f64. Throws as TextEncoder::load does.
  explicit MedfuseModel(const ModelOptions& options, const TensorParallelPtr& ranks = no_tensor_parallel(),
                        const WeightStorePtr& store = nullptr);
  /// With a text encoder that is there already (tests, random weights).
  MedfuseModel(const ModelOptions& options, std::shared_ptr<TextEncoder> text_encoder);

  std::shared_ptr<TextEncoder> text;
  torch::nn::Linear text_head{nullptr};  ///< embedding -> one logit per disease, trained in the encoder stage
  std::shared_ptr<LabTransformer> labs;
  std::shared_ptr<Fusion> fusion;
  std::shared_ptr<ClubEstimator> estimator;  ///< null where fusion.views is not "both"

  at::ScalarType state_type() const { return state_type_; }
  /// Text embeddings in state_type(), [B, D].
  at::Tensor embed(const at::Tensor& tokens_BL, const at::Tensor& lengths_B, const ops::DropoutKeys& keys = {});

  using Named = std::vector<std::pair<std::string, at::Tensor>>;
  /// Trainable parameters whose name starts with one of the prefixes (text., text_head., labs., fusion., estimator.);
  /// without prefixes all of them. Order of registration: the same on all ranks.
  Named trainable(const std::vector<std::string>& prefixes = {}) const;

 private:
  at::ScalarType state_type_;
};

}  // namespace medfuse::model
