// Masked autoencoder over the columns of a table of lab results (ReMasker, Du et al., arXiv 2309.13793).
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "src/model/lab_knots.h"
#include "src/model/lab_masking.h"
#include "src/model/options.h"
#include "src/model/recompute.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

/// This rank's sums of squared errors; scalars with gradient.
struct LabLoss {
  at::Tensor hidden_sum;  ///< over the observed cells that the encoder did not see
  at::Tensor kept_sum;    ///< over those it saw

  /// hidden_sum / hidden + kept_sum / kept with the counts of the *global* batch; a part without cells is zero.
  at::Tensor total(const LabCounts& global) const;
};

/// What the fusion sees of the labs.
struct LabTokens {
  at::Tensor tokens_BTW;  ///< [B, 1 + C, width]: CLS, then one token per column; zero where not observed
  at::Tensor mask_BT;     ///< bool [B, 1 + C]: true for CLS and for the observed columns
};

/// What the decoder says about every column.
struct LabPrediction {
  at::Tensor values_BC;              ///< in [0, 1]
  at::Tensor log_probabilities_BCK;  ///< of the knots, -infinity beyond a column's count; undefined without knots
};

class LabBlock;
class LabEmbedding;
class LabHead;

class LabTransformer : public torch::nn::Module {
 public:
  /// `columns` labs. Every parameter is a function of (seed, its name). Throws Error(usage) for options out of range.
  /// Without knots a value is embedded by a small network and predicted through a sigmoid. With them its embedding is
  /// piecewise linear, and the prediction is the mean of a distribution over the column's knots, which says more about
  /// columns of classes or counts and can be trained by cross-entropy as well.
  LabTransformer(const LabOptions& options, std::int64_t columns, std::uint64_t seed, const LabKnots& knots = {});

  /// Predictions [B, C] in [0, 1] for every column from the kept cells alone: what values_BC holds elsewhere, NaN
  /// included, changes nothing. Values are scaled min-max by the training rows, so a value outside their range can be an
  /// input but not a prediction. values_BC: any floating type; keep_BC: bool. Rows without a kept cell work, B may be 0.
  at::Tensor forward(const at::Tensor& values_BC, const at::Tensor& keep_BC, const ops::DropoutKeys& keys = {});

  /// The same with the distributions behind.
  LabPrediction predict(const at::Tensor& values_BC, const at::Tensor& keep_BC, const ops::DropoutKeys& keys = {});

  /// The encoder alone, with every observed cell visible.
  LabTokens encode(const at::Tensor& values_BC, const at::Tensor& observed_BC, const ops::DropoutKeys& keys = {});

  /// What blocks compute again in a backward pass instead of keeping it. At first: nothing. Changes no result.
  void set_recompute(Recompute mode);

  std::int64_t columns() const { return columns_; }
  const LabOptions& options() const { return options_; }

 private:
  struct Visible;
  Visible gather(const at::Tensor& keep_BC) const;
  at::Tensor run_encoder(const at::Tensor& values_BC, const Visible& visible, const ops::DropoutKeys& keys);

  LabOptions options_;
  std::int64_t columns_;
  std::shared_ptr<LabEmbedding> embedding_;
  at::Tensor cls_token_W_;
  std::vector<std::shared_ptr<LabBlock>> encoder_;
  std::vector<std::shared_ptr<LabBlock>> decoder_;
  torch::nn::LayerNorm encoder_norm_{nullptr};
  torch::nn::Linear bridge_{nullptr};
  at::Tensor mask_token_W_;
  at::Tensor decoder_columns_CW_;
  torch::nn::LayerNorm decoder_norm_{nullptr};
  std::shared_ptr<LabHead> head_;
};

/// Squared errors of forward()'s predictions against the observed cells. Missing cells count nowhere.
LabLoss lab_loss(const at::Tensor& predictions_BC, const at::Tensor& values_BC, const at::Tensor& observed_BC,
                 const at::Tensor& keep_BC);

/// Cross-entropy of predict()'s distributions in place of squared errors: a value between two knots is shared between
/// them in such a way that its mean is the value. `places`: knots.locate() of the values, finite also where not observed.
LabLoss lab_cross_entropy(const at::Tensor& log_probabilities_BCK, const LabPlaces& places,
                          const at::Tensor& observed_BC, const at::Tensor& keep_BC);

}  // namespace medfuse::model
