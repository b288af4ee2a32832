#include "src/train/trainer.h"

#include <torch/types.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"

namespace medfuse::train {

namespace {

std::vector<std::pair<std::string, std::int64_t>> names_and_steps(const std::vector<Trainer::StagePlan>& plans) {
  std::vector<std::pair<std::string, std::int64_t>> stages;
  for (const auto& plan : plans) stages.emplace_back(plan.name, plan.steps);
  return stages;
}

}  // namespace

Trainer::Trainer(TrainerOptions options, std::vector<StagePlan> stages, std::vector<checkpoint::ShardedTensor> parameters,
                 Ranks ranks, Observer observer)
    : options_(std::move(options)),
      plans_(std::move(stages)),
      ranks_(ranks),
      observer_(std::move(observer)),
      saves_(options_.checkpoints, std::move(parameters), names_and_steps(plans_), ranks) {}

Position Trainer::resume() {
  observer_.entered(Part::start, "reading the newest checkpoint");
  stage_.reset();
  const auto state_of = [this](const Position& position) {
    stage_.reset();
    if (position.step == 0) return RunCheckpoints::Tensors{};
    stage_ = plans_[position.stage].make();
    stage_index_ = position.stage;
    return stage_->state();
  };
  const auto position = saves_.load(state_of, [this](const std::string& line) { observer_.message("warning: " + line); });
  if (position) observer_.message(fmt::format("continuing behind step {}", saves_.global_step(*position)));
  return position.value_or(Position{});
}

void Trainer::save(const Position& position) {
  observer_.entered(Part::save, fmt::format("saving step {}", saves_.global_step(position)));
  tell(saves_.finish());
  if (options_.stop) options_.stop->save_begins();
  if (position.step > 0) stage_->unite_parameters();
  saves_.begin(position, position.step > 0 ? stage_->state() : RunCheckpoints::Tensors{}, score_);
  if (!options_.background) tell(saves_.finish());
}

void Trainer::tell(const std::optional<SavedCheckpoint>& saved) {
  if (!saved) return;
  if (options_.stop) options_.stop->saved(saved->seconds, saved->bytes);
  observer_.message(fmt::format("{}: {:.1f} MiB, written in {:.2f} s, training stood still for {:.3f} s",
                                saved->path.filename().string(), static_cast<double>(saved->bytes) / (1 << 20),
                                saved->seconds, saved->blocked));
  if (!saved->warning.empty()) observer_.message("warning: " + saved->warning);
}

StepRecord Trainer::run_step(std::int64_t step) {
  const Stopwatch stopwatch;
  const StepReport report = stage_->step(step);
  std::vector<double> shares = {report.loss_share, report.samples_share, report.tokens_share};
  for (const auto& other : report.other_shares) shares.push_back(other.second);
  const auto sums = sum_over_ranks(ranks_.host, shares);

  StepRecord record;
  record.stage = stage_->name();
  record.step = step + 1;
  record.steps = stage_->steps();
  record.global_step = saves_.global_step({stage_index_, step + 1});
  record.epoch = stage_->epoch_of(step + 1);
  record.loss = sums[0];
  record.samples = sums[1];
  record.tokens = sums[2];
  for (std::size_t i = 0; i < report.other_shares.size(); ++i) {
    record.others.emplace_back(report.other_shares[i].first, sums[3 + i]);
  }
  record.learning_rate = report.learning_rate;
  record.gradient_norm = report.gradient_norm;
  record.good = good_everywhere(record);
  record.seconds = stopwatch.seconds();
  return record;
}

bool Trainer::good_everywhere(const StepRecord& record) const {
  const bool good = std::isfinite(record.loss) && std::isfinite(record.gradient_norm);
  // The ranks of a data group have one record; each of a tensor group has its own, of what should be the same.
  return ranks_.tensor_host ? sum_over_ranks(*ranks_.tensor_host, {good ? 0.0 : 1.0})[0] == 0 : good;
}

bool Trainer::agree() {
  if (stop_agreed_) return true;
  const bool saving = saves_.active();
  if (!options_.stop && !saving) return false;
  const at::Tensor votes =
      torch::tensor({options_.stop ? options_.stop->vote() : 0, std::int64_t{saves_.ready() ? 0 : 1}}, torch::kInt64);
  ranks_.world.all_reduce(votes, cluster::Reduction::max)->wait();
  const auto wish = votes[0].item<std::int64_t>(), writing = votes[1].item<std::int64_t>();
  if (saving && writing == 0) tell(saves_.advance());
  if (wish > 0 && ranks_.world.rank() == 0) stop_reason_ = options_.stop->reason(wish);
  return stop_agreed_ = wish > 0;
}

Outcome Trainer::stopped(Outcome outcome) {
  tell(saves_.finish());
  const char* when = outcome == Outcome::not_begun ? "stopped before the first step: " : "stopped: ";
  observer_.message(when + stop_reason_);
  return outcome;
}

Position Trainer::go_back(const StepRecord& record, std::int64_t bad) {
  const std::string what = fmt::format("stage {}, step {}: loss {}, gradient norm {}: not finite {} times in a row",
                                       record.stage, record.step, record.loss, record.gradient_norm, bad);
  observer_.entered(Part::save, "finishing the last checkpoint");
  tell(saves_.finish());
  if (went_back_ || !saves_.any()) {
    numeric_error("{}{}; start another --run with a lower learning rate, or with clip", what,
                  went_back_ ? ", again after going back to a checkpoint" : ", and there is no checkpoint to go back to");
  }
  went_back_ = true;
  observer_.message(fmt::format("warning: {}: going back to the last checkpoint, this once", what));
  Position position = resume();
  position.bad = 0;
  return position;
}

void Trainer::begin_stage(const Position& position) {
  const auto& plan = plans_[position.stage];
  observer_.entered(Part::start, "beginning stage " + plan.name);
  part_ = Part::first_step;
  if (!stage_ || stage_index_ != position.stage) {
    stage_.reset();
    stage_ = plan.make();
    stage_index_ = position.stage;
  }
  stage_->enter();
  observer_.begun(plan.name, position.step, plan.steps);
  if (options_.stop) options_.stop->will_save(saves_.bytes_with(stage_->state()));
}

StepRecord Trainer::step(const Position& position) {
  const auto& plan = plans_[position.stage];
  observer_.entered(std::exchange(part_, Part::step), fmt::format("step {} of stage {}", position.step + 1, plan.name));
  if (options_.stop) options_.stop->step_begins();
  StepRecord record = run_step(position.step);
  if (options_.stop) options_.stop->step_ended();
  score_.reset();
  score_left_off_ = false;
  const bool wanted = record.step == record.steps || due(options_.validate_every, record.step) ||
                      due(options_.checkpoint_every, record.step);
  if (record.good && wanted && scores(plan)) {
    score(plan);
    if (score_) record.others.emplace_back("validation_auroc", *score_);
  }
  observer_.stepped(record);
  if (!record.good) {
    observer_.message(fmt::format("warning: stage {}, step {}: loss {}, gradient norm {}: not finite; the step is passed over",
                                  record.stage, record.step, record.loss, record.gradient_norm));
  }
  return record;
}

void Trainer::score(const StagePlan& plan) {
  observer_.entered(Part::start, "scoring the validation split");
  // It may take far longer than a step: a stop must not wait for it, nor a time limit come in its midst.
  score_ = plan.score([this] { return agree(); });
  score_left_off_ = !score_;
}

bool Trainer::make_up_score(Position& position) {
  const auto& plan = plans_[position.step > 0 ? position.stage : position.stage - 1];
  if (!scores(plan)) return true;
  score(plan);
  if (!score_) return false;
  observer_.message(fmt::format("step {} of stage {}, whose score a stop had left off: validation_auroc {:.4f}",
                                position.step > 0 ? position.step : plan.steps, plan.name, *score_));
  position.unscored = false;
  save(position);
  return true;
}

Outcome Trainer::run() {
  Position position = resume();
  if (position.stage < plans_.size() && agree()) return stopped(Outcome::not_begun);
  bool begun = false;
  while (true) {
    if (position.unscored && !make_up_score(position)) return stopped(Outcome::not_begun);
    if (position.stage == plans_.size()) break;
    if (!std::exchange(begun, true)) begin_stage(position);
    const StepRecord record = step(position);
    position.bad = record.good ? 0 : position.bad + 1;
    position.good += record.good ? 1 : 0;
    // A stage in which no step was good has taught nothing, however short it is.
    if (position.bad >= options_.bad_steps || (record.step == record.steps && position.good == 0)) {
      position = go_back(record, position.bad);
      begun = false;
      continue;
    }
    ++position.step;
    const bool ended = position.step == plans_[position.stage].steps;
    if (ended) {
      stage_->unite_parameters();
      stage_.reset();
      position = {.stage = position.stage + 1, .bad = position.bad};
      begun = false;
    }
    position.unscored = score_left_off_;
    // Behind the last step nothing is left to stop but its score.
    const bool stop = (position.stage < plans_.size() || position.unscored) && agree();
    // Not in a row of bad steps: there must be something to go back to.
    if (ended || stop || (position.bad == 0 && due(options_.checkpoint_every, position.step))) save(position);
    if (stop) return stopped(Outcome::stopped);
  }
  observer_.entered(Part::save, "finishing the last checkpoint");
  tell(saves_.finish());
  return Outcome::finished;
}

}  // namespace medfuse::train
