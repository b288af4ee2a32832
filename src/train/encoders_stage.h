// Stage "encoders": LoRA fine-tuning of the text encoder on the disease labels and masked pretraining of the lab
// transformer, interleaved on every rank. The two share nothing but the step they are in.
#pragma once

#include <memory>

#include "src/model/medfuse_model.h"
#include "src/train/feed.h"
#include "src/train/options.h"
#include "src/train/ranks.h"
#include "src/train/stage.h"
#include "src/train/updater.h"

namespace medfuse::train {

class EncodersStage : public Stage {
 public:
  /// All but `options` by reference: they outlive the stage.
  EncodersStage(const TrainOptions& options, model::MedfuseModel& model, const data::PackedReader& reader, Ranks ranks);

  const std::string& name() const override { return name_; }
  std::int64_t steps() const override { return steps_; }
  double epoch_of(std::int64_t step) const override;
  StepReport step(std::int64_t step) override;
  std::vector<checkpoint::ShardedTensor> state() const override;

  /// Steps of this stage, known before it is made.
  static std::int64_t count_steps(const TrainOptions& options, const data::PackedReader& reader);

 private:
  void text_step(std::int64_t step, StepReport& report);
  void lab_step(std::int64_t step, StepReport& report);

  std::string name_ = "encoders";
  TrainOptions options_;
  model::MedfuseModel& model_;
  const data::PackedReader& reader_;
  Ranks ranks_;
  at::Device device_;
  Feed text_feed_;
  Feed lab_feed_;
  std::int64_t steps_;
  Updater text_updater_;
  Updater lab_updater_;
};

}  // namespace medfuse::train
