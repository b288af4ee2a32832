#include "src/train/encoders_stage.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "src/parallel/weight_shards.h"
#include "src/train/batch.h"
#include "src/train/stage_parts.h"

namespace medfuse::train {

namespace {

std::int64_t text_steps(const TrainOptions& options, const data::PackedReader& reader) {
  return stage_steps(options.encoders.length, options.batch, reader);
}

std::int64_t lab_steps(const TrainOptions& options, const data::PackedReader& reader) {
  return options.encoders.lab_steps > 0 ? options.encoders.lab_steps : text_steps(options, reader);
}

/// The ranks as those of one encoder see them.
Ranks ranks_of_task(const Ranks& ranks) {
  if (!ranks.split) return ranks;
  Ranks task(ranks.split->host, ranks.split->device, ranks.world, *ranks.tensor_host, *ranks.tensor_device);
  task.shards = ranks.shards;
  return task;
}

}  // namespace

EncodersStage::EncodersStage(const TrainOptions& options, model::MedfuseModel& model, const data::PackedReader& reader,
                             Ranks ranks)
    : options_(options),
      model_(model),
      reader_(reader),
      ranks_(ranks),
      device_(ranks.device.device()),
      text_schedule_(schedule(options, options.learning_rate, text_steps(options, reader))),
      lab_schedule_(schedule(options, options.encoders.lab_learning_rate, lab_steps(options, reader))),
      steps_(count_steps(options, reader)),
      samples_(std::ssize(reader.indices(data::Split::train))) {
  const Ranks task = ranks_of_task(ranks);
  if (ranks.trains_text()) {
    text_ = std::make_unique<Task>(
        task, Feed(reader, options.seed, "encoders.text", options.batch, options.micro_batch, task.rank(), task.size()),
        Updater("text", {group(model, {"text.", "text_head."}, options.weight_decay)}, options.adam, text_schedule_,
                options.clip, options.parallel, task));
  }
  if (ranks.trains_labs()) {
    labs_ = std::make_unique<Task>(
        task, Feed(reader, options.seed, "encoders.labs", lab_batch(options), lab_batch(options), task.rank(), task.size()),
        Updater("labs", {group(model, {"labs."}, options.weight_decay)}, options.adam, lab_schedule_, options.clip,
                options.parallel, task));
  }
}

std::int64_t EncodersStage::count_steps(const TrainOptions& options, const data::PackedReader& reader) {
  return std::max(text_steps(options, reader), lab_steps(options, reader));
}

double EncodersStage::epoch_of(std::int64_t step) const {
  return static_cast<double>(step * options_.batch) / static_cast<double>(samples_);
}

std::vector<checkpoint::ShardedTensor> EncodersStage::state() const {
  std::vector<checkpoint::ShardedTensor> all;
  for (const Task* task : {text_.get(), labs_.get()}) {
    if (!task) continue;
    for (auto& tensor : task->updater.state()) all.push_back(std::move(tensor));
  }
  return all;
}

void EncodersStage::enter() {
  if (ranks_.shards) ranks_.shards->divide(parallel::Sharers::some);
}

void EncodersStage::unite_parameters() {
  if (!ranks_.split) return;
  // Ranks of a data group hold the same part of the text encoder, and there are some for either encoder in each group.
  const auto broadcast = [this](const std::vector<std::string>& prefixes, int owner) {
    for (const auto& [name, tensor] : model_.trainable(prefixes)) {
      ranks_.device.broadcast(tensor.detach(), owner)->wait();
    }
  };
  broadcast({"text.", "text_head."}, 0);
  broadcast({"labs."}, ranks_.split->first_lab);
}

StepReport EncodersStage::step(std::int64_t step) {
  const bool text_learns = step < text_schedule_.steps, labs_learn = step < lab_schedule_.steps;
  Part text, labs;
  if (text_ && text_learns) text = text_step(step);
  if (labs_ && labs_learn) labs = lab_step(step);
  if (ranks_.split) tell_all(text, labs);
  // Both learn or neither: a step that is passed over changes nothing, on whatever rank.
  const bool good = std::isfinite(text.gradient_norm) && std::isfinite(labs.gradient_norm);
  const auto end = [&](Task* task) { good ? task->updater.apply(step) : task->updater.drop(); };
  if (text_ && text_learns) end(text_.get());
  if (labs_ && labs_learn) end(labs_.get());

  StepReport report;
  report.loss_share = text.loss_share + labs.loss_share;
  if (text_learns) report.other_shares.emplace_back("text_loss", text.loss_share);
  if (labs_learn) report.other_shares.emplace_back("lab_loss", labs.loss_share);
  // Rates are those of the text encoder while it learns.
  report.samples_share = text_learns ? text.samples_share : labs.samples_share;
  report.tokens_share = text.tokens_share;
  report.learning_rate = learning_rate(text_learns ? text_schedule_ : lab_schedule_, step);
  // The larger of the two norms; one that is not finite must not get lost in a comparison.
  report.gradient_norm = text.gradient_norm;
  if (!std::isfinite(labs.gradient_norm) || labs.gradient_norm > report.gradient_norm) {
    report.gradient_norm = labs.gradient_norm;
  }
  return report;
}

/// Makes of what each rank knows of its own encoder what all know of both.
void EncodersStage::tell_all(Part& text, Part& labs) {
  const int first_lab = ranks_.split->first_lab;
  if (labs_) {
    // Shares are added up over a data group, which sees but some of the lab ranks where there are tensor groups.
    const auto sums = sum_over_ranks(labs_->ranks.host, {labs.loss_share, labs.samples_share});
    const double of_group = ranks_.size() - first_lab;
    labs.loss_share = sums[0] / of_group;
    labs.samples_share = sums[1] / of_group;
  }
  // A sum, in which one that is not finite stays so.
  const auto norms = sum_over_ranks(ranks_.host, {ranks_.rank() == 0 ? text.gradient_norm : 0.0,
                                                  ranks_.rank() == first_lab ? labs.gradient_norm : 0.0});
  text.gradient_norm = norms[0];
  labs.gradient_norm = norms[1];
}

EncodersStage::Part EncodersStage::text_step(std::int64_t step) {
  const auto micro_batches = text_->feed.micro_batches(step);
  const double decisions = static_cast<double>(options_.batch) * static_cast<double>(reader_.info().diseases.size());
  const auto passes = static_cast<std::size_t>(text_->feed.passes());
  Part part;
  for (std::size_t i = 0; i < passes; ++i) {
    if (i >= micro_batches.size()) {
      model_.text->idle_forward();
      text_->updater.prepare(i + 1 == passes);
      model_.text->idle_backward();
      continue;
    }
    const Batch batch = make_batch(reader_, micro_batches[i], options_.seed, "encoders.text", model_.state_type(), device_,
                                   {.text = true, .labs = false});
    const ops::DropoutKeys keys{batch.keys_B};
    const at::Tensor logits_BK = model_.text_head->forward(model_.embed(batch.tokens_BL, batch.lengths_B, keys));
    const at::Tensor loss = label_loss_sum(logits_BK, batch.labels_BK) / decisions;
    text_->updater.prepare(i + 1 == passes);
    guarded(loss).backward();
    part.loss_share += loss.item<double>();
    part.samples_share += static_cast<double>(batch.size());
    part.tokens_share += batch.lengths_B.sum().item<double>();
  }
  part.gradient_norm = text_->updater.reduce();
  return part;
}

EncodersStage::Part EncodersStage::lab_step(std::int64_t step) {
  // The two parts of the loss are means over cells whose numbers the masks decide: count all ranks' cells first.
  struct Masked {
    Batch batch;
    at::Tensor keep_BC;
  };
  std::vector<Masked> masked;
  std::vector<double> cells = {0, 0};
  for (const auto& draws : labs_->feed.micro_batches(step)) {
    Masked part{make_batch(reader_, draws, options_.seed, "encoders.labs", model_.state_type(), device_,
                           {.text = false, .labs = true}),
                {}};
    part.keep_BC = model::lab_keep_mask(part.batch.observed_BC, part.batch.keys_B, options_.labs.mask_ratio);
    const auto counts = model::lab_counts(part.batch.observed_BC, part.keep_BC);
    cells[0] += static_cast<double>(counts.hidden);
    cells[1] += static_cast<double>(counts.kept);
    masked.push_back(std::move(part));
  }
  cells = sum_over_ranks(labs_->ranks.host, cells);
  const model::LabCounts global{static_cast<std::int64_t>(cells[0]), static_cast<std::int64_t>(cells[1])};

  Part part;
  const auto passes = static_cast<std::size_t>(labs_->feed.passes());
  for (std::size_t i = 0; i < passes; ++i) {
    if (i >= masked.size()) {
      labs_->updater.prepare(i + 1 == passes);
      continue;
    }
    const auto& [batch, keep_BC] = masked[i];
    const at::Tensor predictions_BC = model_.labs->forward(batch.labs_BC, keep_BC, ops::DropoutKeys{batch.keys_B});
    const at::Tensor loss =
        model::lab_loss(predictions_BC, batch.labs_BC, batch.observed_BC, keep_BC).total(global);
    labs_->updater.prepare(i + 1 == passes);
    guarded(loss).backward();
    part.loss_share += loss.item<double>();
    part.samples_share += static_cast<double>(batch.size());
  }
  part.gradient_norm = labs_->updater.reduce();
  return part;
}

}  // namespace medfuse::train
