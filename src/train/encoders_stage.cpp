#include "src/train/encoders_stage.h"

#include <cmath>

#include "base/random.h"
#include "src/train/batch.h"
#include "src/train/stage_parts.h"

namespace medfuse::train {

EncodersStage::EncodersStage(const TrainOptions& options, model::MedfuseModel& model, const data::PackedReader& reader,
                             Ranks ranks)
    : options_(options),
      model_(model),
      reader_(reader),
      ranks_(ranks),
      device_(ranks.device.device()),
      text_feed_(reader, options.seed, "encoders.text", options.batch, options.micro_batch, ranks.rank(), ranks.size()),
      lab_feed_(reader, options.seed, "encoders.labs", lab_batch(options), lab_batch(options), ranks.rank(), ranks.size()),
      steps_(count_steps(options, reader)),
      text_updater_("text", {group(model, {"text.", "text_head."}, options.weight_decay)}, options.adam,
                    schedule(options, options.learning_rate, steps_), options.clip, options.parallel, ranks),
      lab_updater_("labs", {group(model, {"labs."}, options.weight_decay)}, options.adam,
                   schedule(options, options.encoders.lab_learning_rate, steps_), options.clip, options.parallel, ranks) {}

std::int64_t EncodersStage::count_steps(const TrainOptions& options, const data::PackedReader& reader) {
  return stage_steps(options.encoders.length, options.batch, reader);
}

double EncodersStage::epoch_of(std::int64_t step) const {
  return static_cast<double>(step * options_.batch) / static_cast<double>(text_feed_.samples());
}

std::vector<checkpoint::ShardedTensor> EncodersStage::state() const {
  auto all = text_updater_.state();
  for (auto& tensor : lab_updater_.state()) all.push_back(std::move(tensor));
  return all;
}

StepReport EncodersStage::step(std::int64_t step) {
  StepReport report;
  text_step(step, report);
  lab_step(step, report);
  return report;
}

void EncodersStage::text_step(std::int64_t step, StepReport& report) {
  const auto micro_batches = text_feed_.micro_batches(step);
  const double decisions = static_cast<double>(options_.batch) * static_cast<double>(reader_.info().diseases.size());
  const auto passes = static_cast<std::size_t>(text_feed_.passes());
  double loss_share = 0;
  for (std::size_t i = 0; i < passes; ++i) {
    if (i >= micro_batches.size()) {
      model_.text->idle_forward();
      text_updater_.prepare(i + 1 == passes);
      model_.text->idle_backward();
      continue;
    }
    const Batch batch = make_batch(reader_, micro_batches[i], options_.seed, "encoders.text", model_.state_type(), device_,
                                   {.text = true, .labs = false});
    const ops::DropoutKeys keys{batch.keys_B};
    const at::Tensor logits_BK = model_.text_head->forward(model_.embed(batch.tokens_BL, batch.lengths_B, keys));
    const at::Tensor loss = label_loss_sum(logits_BK, batch.labels_BK) / decisions;
    text_updater_.prepare(i + 1 == passes);
    loss.backward();
    loss_share += loss.item<double>();
    report.samples_share += static_cast<double>(batch.size());
    report.tokens_share += batch.lengths_B.sum().item<double>();
  }
  report.gradient_norm = text_updater_.update(step);
  report.learning_rate = text_updater_.learning_rate(step);
  report.loss_share += loss_share;
  report.other_shares.emplace_back("text_loss", loss_share);
}

void EncodersStage::lab_step(std::int64_t step, StepReport& report) {
  // The two parts of the loss are means over cells whose numbers the masks decide: count all ranks' cells first.
  struct Masked {
    Batch batch;
    at::Tensor keep_BC;
  };
  std::vector<Masked> masked;
  std::vector<double> cells = {0, 0};
  for (const auto& draws : lab_feed_.micro_batches(step)) {
    Masked part{make_batch(reader_, draws, options_.seed, "encoders.labs", model_.state_type(), device_,
                           {.text = false, .labs = true}),
                {}};
    part.keep_BC = model::lab_keep_mask(part.batch.observed_BC, part.batch.keys_B, options_.labs.mask_ratio);
    const auto counts = model::lab_counts(part.batch.observed_BC, part.keep_BC);
    cells[0] += static_cast<double>(counts.hidden);
    cells[1] += static_cast<double>(counts.kept);
    masked.push_back(std::move(part));
  }
  cells = sum_over_ranks(ranks_.host, cells);
  const model::LabCounts global{static_cast<std::int64_t>(cells[0]), static_cast<std::int64_t>(cells[1])};

  double loss_share = 0;
  const auto passes = static_cast<std::size_t>(lab_feed_.passes());
  for (std::size_t i = 0; i < passes; ++i) {
    if (i >= masked.size()) {
      lab_updater_.prepare(i + 1 == passes);
      continue;
    }
    const auto& [batch, keep_BC] = masked[i];
    const at::Tensor predictions_BC = model_.labs->forward(batch.labs_BC, keep_BC, ops::DropoutKeys{batch.keys_B});
    const at::Tensor loss =
        model::lab_loss(predictions_BC, batch.labs_BC, batch.observed_BC, keep_BC).total(global);
    lab_updater_.prepare(i + 1 == passes);
    loss.backward();
    loss_share += loss.item<double>();
  }
  const double norm = lab_updater_.update(step);
  // The larger of the two norms; one that is not finite must not get lost in a comparison.
  if (!std::isfinite(norm) || norm > report.gradient_norm) report.gradient_norm = norm;
  report.loss_share += loss_share;
  report.other_shares.emplace_back("lab_loss", loss_share);
}

}  // namespace medfuse::train
