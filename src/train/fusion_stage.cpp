#include "src/train/fusion_stage.h"

#include <cmath>

#include "src/parallel/global_sum.h"
#include "src/parallel/weight_shards.h"
#include "src/train/stage_parts.h"

namespace medfuse::train {

namespace {

/// What the fusion stage trains: its own transformer at full rate, the encoders that its views use at theirs.
/// In the order of the forward pass.
std::vector<ParameterGroup> parameter_groups(const TrainOptions& options, const model::MedfuseModel& model) {
  const FusionStageOptions& stage = options.fusion_stage;
  std::vector<ParameterGroup> groups;
  const bool encoders = stage.encoder_factor > 0;
  const double base = stage.learning_rate > 0 ? stage.encoder_factor / stage.learning_rate : 0;
  if (encoders && model.fusion->uses_text()) {
    groups.push_back(group(model, {"text."}, options.weight_decay, options.learning_rate * base));
  }
  if (encoders && model.fusion->uses_labs()) {
    // The decoder has no part in this stage.
    groups.push_back(group(model, {"labs.embedding", "labs.cls_token", "labs.encoder"}, options.weight_decay,
                           options.encoders.lab_learning_rate * base));
  }
  groups.push_back(group(model, {"fusion."}, options.weight_decay));
  return groups;
}

at::Tensor joined(const std::vector<at::Tensor>& rows, std::int64_t width, const at::TensorOptions& options) {
  return rows.empty() ? at::zeros({0, width}, options) : at::cat(rows);
}

}  // namespace

FusionStage::FusionStage(const TrainOptions& options, model::MedfuseModel& model, const data::PackedReader& reader,
                         Ranks ranks)
    : options_(options),
      model_(model),
      reader_(reader),
      ranks_(ranks),
      device_(ranks.device.device()),
      feed_(reader, options.seed, name_, options.batch, options.micro_batch, ranks.rank(), ranks.size()),
      steps_(count_steps(options, reader)),
      train_encoders_(options.fusion_stage.encoder_factor > 0),
      updater_("fusion", parameter_groups(options, model), options.adam,
               schedule(options, options.fusion_stage.learning_rate, steps_),
               options.clip, options.parallel, ranks) {
  if (model.estimator && options.fusion.mutual_information > 0) {
    estimator_updater_ = std::make_unique<Updater>(
        "estimator", std::vector<ParameterGroup>{group(model, {"estimator."}, 0)}, options.adam,
        schedule(options, options.fusion_stage.estimator_learning_rate, steps_), 0, options.parallel, ranks);
  }
}

std::int64_t FusionStage::count_steps(const TrainOptions& options, const data::PackedReader& reader) {
  return stage_steps(options.fusion_stage.length, options.batch, reader);
}

void FusionStage::enter() {
  if (ranks_.shards) ranks_.shards->divide(parallel::Sharers::all);
}

double FusionStage::epoch_of(std::int64_t step) const {
  return static_cast<double>(step * options_.batch) / static_cast<double>(feed_.samples());
}

std::vector<checkpoint::ShardedTensor> FusionStage::state() const {
  auto all = updater_.state();
  if (estimator_updater_) {
    for (auto& tensor : estimator_updater_->state()) all.push_back(std::move(tensor));
  }
  return all;
}

model::FusionOutput FusionStage::forward(const Batch& batch) {
  const ops::DropoutKeys keys{batch.keys_B};
  at::Tensor embedding_BD;
  model::LabTokens labs;
  {
    const torch::AutoGradMode encoder_gradients(train_encoders_ && torch::GradMode::is_enabled());
    if (model_.fusion->uses_text()) embedding_BD = model_.embed(batch.tokens_BL, batch.lengths_B, keys);
    if (model_.fusion->uses_labs()) labs = model_.labs->encode(batch.labs_BC, batch.observed_BC, keys);
  }
  return model_.fusion->forward(embedding_BD, labs.tokens_BTW, labs.mask_BT, keys);
}

void FusionStage::idle_forward() {
  if (model_.fusion->uses_text()) model_.text->idle_forward();
}

void FusionStage::fit_estimator(const at::Tensor& specific_BF, const at::Tensor& shared_BG, std::int64_t step,
                                Information& result) {
  at::Tensor likelihood;
  for (std::int64_t i = 0; i < options_.fusion_stage.estimator_steps; ++i) {
    estimator_updater_->prepare(true);
    likelihood = model_.estimator->log_likelihood_sum(specific_BF, shared_BG) / static_cast<double>(options_.batch);
    guarded(-likelihood).backward();
    result.estimator_norm = estimator_updater_->reduce();
    if (!std::isfinite(result.estimator_norm)) {
      estimator_updater_->drop();
      break;
    }
    estimator_updater_->apply(step);
  }
  result.likelihood_share = likelihood.item<double>();
}

FusionStage::Information FusionStage::information(const at::Tensor& specific_BF, const at::Tensor& shared_BG,
                                                  std::int64_t step) {
  Information result;
  const at::Tensor specific = specific_BF.detach().requires_grad_();
  const at::Tensor shared = shared_BG.detach().requires_grad_();
  const auto global_sum = [this](const at::Tensor& x) { return parallel::global_sum(x, ranks_.device); };
  // Both standardised at once: half the collectives.
  const std::int64_t width = specific.size(1);
  const auto all = model::standard_features(at::cat({specific, shared}, 1), options_.batch, global_sum);
  const at::Tensor x_BF = all.values_BG.narrow(1, 0, width);
  const at::Tensor y_BG = all.values_BG.narrow(1, width, shared.size(1));
  const model::ClubMoments y_moments = {all.moments.mean_G.narrow(0, width, shared.size(1)),
                                        all.moments.variance_G.narrow(0, width, shared.size(1))};
  fit_estimator(x_BF.detach(), y_BG.detach(), step, result);
  const at::Tensor bound =
      model_.estimator->upper_bound_sum(x_BF, y_BG, y_moments) / static_cast<double>(options_.batch);
  result.bound_share = bound.item<double>();
  // There is no less than no information: a negative estimate says that the estimator is behind, and following it down
  // would only teach the model to fool it. It costs nothing then, and has no gradient. The backward pass holds
  // collectives, so all ranks take it either way.
  const double weight = sum_over_ranks(ranks_.host, {result.bound_share})[0] > 0
                            ? options_.fusion.mutual_information / static_cast<double>(model_.fusion->shared_width())
                            : 0.0;
  const auto gradients = torch::autograd::grad({guarded(weight * bound)}, {specific, shared});
  result.loss_share = weight * result.bound_share;
  result.specific_gradient_BF = gradients[0];
  result.shared_gradient_BG = gradients[1];
  return result;
}

StepReport FusionStage::step(std::int64_t step) {
  const Parts parts{.text = model_.fusion->uses_text(), .labs = model_.fusion->uses_labs()};
  std::vector<Batch> batches;
  for (const auto& draws : feed_.micro_batches(step)) {
    batches.push_back(make_batch(reader_, draws, options_.seed, name_, model_.state_type(), device_, parts));
  }
  const bool with_information = estimator_updater_ != nullptr;
  const auto passes = static_cast<std::size_t>(feed_.passes());
  const bool one_pass = passes == 1;

  std::vector<model::FusionOutput> outputs;  // of the first pass
  if (with_information || one_pass) {
    const torch::AutoGradMode gradients(one_pass);
    for (std::size_t i = 0; i < passes; ++i) {
      if (i < batches.size()) outputs.push_back(forward(batches[i]));
      else idle_forward();
    }
  }
  Information mutual;
  std::vector<at::Tensor> estimator_before;
  if (with_information) {
    estimator_before = estimator_updater_->copy();
    std::vector<at::Tensor> specific, shared;
    for (const auto& output : outputs) {
      specific.push_back(output.specific_BF);
      shared.push_back(output.shared_BG);
    }
    const auto options = at::TensorOptions().dtype(model_.state_type()).device(device_);
    mutual = information(joined(specific, model_.fusion->specific_width(), options),
                         joined(shared, model_.fusion->shared_width(), options), step);
  }

  StepReport report;
  const double decisions = static_cast<double>(options_.batch) * static_cast<double>(reader_.info().diseases.size());
  double prediction_share = 0;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < passes; ++i) {
    if (i >= batches.size()) {
      if (!one_pass) idle_forward();
      updater_.prepare(i + 1 == passes);
      if (parts.text && train_encoders_) model_.text->idle_backward();
      continue;
    }
    const Batch& batch = batches[i];
    const model::FusionOutput output = one_pass ? outputs[i] : forward(batch);
    const at::Tensor prediction = label_loss_sum(output.logits_BK, batch.labels_BK) / decisions;
    at::Tensor loss = prediction;
    if (with_information) {
      // Its gradient with respect to the features is that of the mutual-information loss.
      loss = loss + (output.specific_BF * mutual.specific_gradient_BF.narrow(0, row, batch.size())).sum() +
             (output.shared_BG * mutual.shared_gradient_BG.narrow(0, row, batch.size())).sum();
    }
    updater_.prepare(i + 1 == passes);
    guarded(loss).backward();
    row += batch.size();
    prediction_share += prediction.item<double>();
    report.samples_share += static_cast<double>(batch.size());
    if (parts.text) report.tokens_share += batch.lengths_B.sum().item<double>();
  }
  report.gradient_norm = updater_.reduce();
  if (!std::isfinite(mutual.estimator_norm)) report.gradient_norm = mutual.estimator_norm;
  if (std::isfinite(report.gradient_norm)) {
    updater_.apply(step);
  } else {
    // The estimator learned before the rest of the step was known to be no good.
    updater_.drop();
    if (with_information) estimator_updater_->restore(estimator_before);
  }
  report.learning_rate = updater_.learning_rate(step);
  report.loss_share = prediction_share + mutual.loss_share;
  report.other_shares.emplace_back("prediction_loss", prediction_share);
  if (with_information) {
    report.other_shares.emplace_back("mutual_information", mutual.bound_share);
    report.other_shares.emplace_back("estimator_likelihood", mutual.likelihood_share);
  }
  return report;
}

}  // namespace medfuse::train
