// Disentangled fusion of the text and lab views (MEDFuse, arXiv 2407.12309): what each view says alone, what both
// share, and the diagnoses from all of it.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>

#include "src/model/lab_attention.h"
#include "src/model/options.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

struct FusionOutput {
  at::Tensor specific_BF;  ///< [S_A, S_B] flattened: [B, 2 * tokens * width]; of the one view where views != "both"
  at::Tensor shared_BG;    ///< S_C flattened: [B, tokens * width]; undefined where views != "both"
  at::Tensor logits_BK;    ///< one per disease
};

class Fusion : public torch::nn::Module {
 public:
  /// Throws Error(usage) for options out of range (fewer than 4 tokens, heads that do not divide the width, an unknown
  /// view). Every parameter is a function of (seed, its name).
  Fusion(const FusionOptions& options, std::int64_t text_width, std::int64_t lab_width, std::int64_t diseases,
         std::uint64_t seed);

  /// text_BD: [B, text_width]; lab_tokens_BTW: [B, T, lab_width] with lab_mask_BT bool [B, T], at least one true a row
  /// (CLS). The input of a view that is not used may be undefined. Inputs are converted to the parameters' type.
  FusionOutput forward(const at::Tensor& text_BD, const at::Tensor& lab_tokens_BTW, const at::Tensor& lab_mask_BT,
                       const ops::DropoutKeys& keys = {});

  bool uses_text() const { return options_.views != "labs"; }
  bool uses_labs() const { return options_.views != "text"; }
  bool uses_both() const { return options_.views == "both"; }
  /// Width of specific_BF and shared_BG, for the ClubEstimator.
  std::int64_t specific_width() const;
  std::int64_t shared_width() const;
  const FusionOptions& options() const { return options_; }

 private:
  at::Tensor text_tokens(const at::Tensor& text_BD);
  at::Tensor lab_tokens(const at::Tensor& lab_tokens_BTW, const at::Tensor& lab_mask_BT);
  at::Tensor shared_tokens(const at::Tensor& a_BTF, const at::Tensor& b_BTF, const at::Tensor& query_BTF);

  FusionOptions options_;
  torch::nn::LayerNorm text_norm_{nullptr}, text_token_norm_{nullptr}, text_self_norm_{nullptr};
  torch::nn::Linear text_projection_{nullptr};
  std::shared_ptr<TokenAttention> text_self_;
  torch::nn::Linear text_feature_{nullptr};

  torch::nn::LayerNorm lab_norm_{nullptr}, lab_token_norm_{nullptr}, lab_self_norm_{nullptr};
  at::Tensor lab_queries_TF_;
  std::shared_ptr<TokenAttention> lab_pool_, lab_self_;
  torch::nn::Linear lab_feature_{nullptr};

  torch::nn::Linear text_factor_{nullptr}, lab_factor_{nullptr}, pair_projection_{nullptr};
  torch::nn::LayerNorm pair_norm_{nullptr}, query_norm_{nullptr}, shared_norm_{nullptr};
  std::shared_ptr<TokenAttention> cross_;

  torch::nn::Linear hidden1_{nullptr}, hidden2_{nullptr}, head_{nullptr};
};

}  // namespace medfuse::model
