// Stage "encoders": LoRA fine-tuning of the text encoder on the disease labels and masked pretraining of the lab
// transformer. The two share nothing but the step they are in: every rank does both in turn (interleaved), or some do the
// one while the others do the other (split). One that is over while the other goes on stays as it is.
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
  void enter() override;
  StepReport step(std::int64_t step) override;
  void unite_parameters() override;
  std::vector<checkpoint::ShardedTensor> state() const override;

  /// Steps of this stage, known before it is made: those of the longer of the two.
  static std::int64_t count_steps(const TrainOptions& options, const data::PackedReader& reader);

 private:
  /// One of the two trainings, on the ranks that divide its samples.
  struct Task {
    Ranks ranks;
    Feed feed;
    Updater updater;
  };
  /// What a step of one of them came to; the shares as in StepReport.
  struct Part {
    double loss_share = 0;
    double samples_share = 0;
    double tokens_share = 0;
    double gradient_norm = 0;
  };
  Part text_step(std::int64_t step);
  Part lab_step(std::int64_t step);
  void tell_all(Part& text, Part& labs);

  std::string name_ = "encoders";
  TrainOptions options_;
  model::MedfuseModel& model_;
  const data::PackedReader& reader_;
  Ranks ranks_;
  at::Device device_;
  ScheduleOptions text_schedule_;
  ScheduleOptions lab_schedule_;
  std::int64_t steps_;
  std::int64_t samples_;
  std::unique_ptr<Task> text_;  // null where other ranks do it
  std::unique_ptr<Task> labs_;
};

}  // namespace medfuse::train
