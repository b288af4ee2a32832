// Stage "fusion": the disentangled fusion transformer with both encoders, jointly, on the prediction loss and the
// mutual-information loss; in every step the vCLUB estimator is fitted first, on detached features, with an optimiser of
// its own.
//
// The mutual-information loss couples all samples of the global batch through their mean and variance, so with several
// micro-batches its gradient exists only once all have gone forward. Then the step takes two passes: the first computes
// the features alone, from which the loss and its gradient at the features follow; the second computes each micro-batch
// again with a graph and sends that gradient back through it. Dropout hangs on counters, so both passes see the same
// masks. With one micro-batch a single pass serves. Both ways give the same gradient to rounding.
#pragma once

#include <memory>
#include <vector>

#include "src/model/medfuse_model.h"
#include "src/train/batch.h"
#include "src/train/feed.h"
#include "src/train/options.h"
#include "src/train/ranks.h"
#include "src/train/stage.h"
#include "src/train/updater.h"

namespace medfuse::train {

class FusionStage : public Stage {
 public:
  /// All but `options` by reference: they outlive the stage.
  FusionStage(const TrainOptions& options, model::MedfuseModel& model, const data::PackedReader& reader, Ranks ranks);

  const std::string& name() const override { return name_; }
  std::int64_t steps() const override { return steps_; }
  double epoch_of(std::int64_t step) const override;
  void enter() override;
  StepReport step(std::int64_t step) override;
  std::vector<checkpoint::ShardedTensor> state() const override;

  static std::int64_t count_steps(const TrainOptions& options, const data::PackedReader& reader);

 private:
  /// Features of this rank's rows as leaves, and the gradient of the mutual-information loss with respect to them.
  struct Information {
    at::Tensor specific_gradient_BF;
    at::Tensor shared_gradient_BG;
    double bound_share = 0;      ///< of the vCLUB estimate, in nats
    double loss_share = 0;       ///< of the loss it makes: weight * max(0, estimate) / features of S_C
    double likelihood_share = 0; ///< of the estimator's mean log-likelihood
    double estimator_norm = 0;   ///< a gradient norm of the estimator: one that is not finite, if there was one
  };

  model::FusionOutput forward(const Batch& batch);
  /// In its place on a rank that has no batch.
  void idle_forward();
  Information information(const at::Tensor& specific_BF, const at::Tensor& shared_BG, std::int64_t step);
  void fit_estimator(const at::Tensor& specific_BF, const at::Tensor& shared_BG, std::int64_t step, Information& result);

  std::string name_ = "fusion";
  TrainOptions options_;
  model::MedfuseModel& model_;
  const data::PackedReader& reader_;
  Ranks ranks_;
  at::Device device_;
  Feed feed_;
  std::int64_t steps_;
  bool train_encoders_;
  Updater updater_;
  std::unique_ptr<Updater> estimator_updater_;  // null where there is no mutual-information loss
};

}  // namespace medfuse::train
