#include "src/train/trainer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <chrono>
#include <cmath>

#include "base/error.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/writer.h"
#include "src/parallel/weight_shards.h"

namespace medfuse::train {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// A stage's tensor under its name in checkpoints.
checkpoint::ShardedTensor saved(checkpoint::ShardedTensor tensor) {
  tensor.name = "optimizer." + tensor.name;
  return tensor;
}

}  // namespace

Trainer::Trainer(TrainerOptions options, std::vector<StagePlan> stages, std::vector<checkpoint::ShardedTensor> parameters,
                 Ranks ranks, Observer observer)
    : options_(std::move(options)),
      plans_(std::move(stages)),
      parameters_(std::move(parameters)),
      ranks_(ranks),
      observer_(std::move(observer)) {}

std::int64_t Trainer::global_step(const Position& position) const {
  std::int64_t steps = position.step;
  for (std::size_t i = 0; i < position.stage && i < plans_.size(); ++i) steps += plans_[i].steps;
  return steps;
}

Trainer::Position Trainer::position_of(const checkpoint::Reader& reader) const {
  std::vector<std::string> finished;
  std::string stage;
  Position position;
  try {
    finished = reader.extra().at("stages_finished").get<std::vector<std::string>>();
    stage = reader.extra().at("stage").get<std::string>();
    position.step = reader.extra().at("step").get<std::int64_t>();
  } catch (const nlohmann::json::exception&) {
    throw checkpoint::DamagedError(
        fmt::format("{}: does not say which stage and step it is of; delete it", reader.path().string()));
  }
  // The plan may go on behind what was done, but not leave out or reorder it.
  std::vector<std::string> done = finished;
  if (position.step > 0) done.push_back(stage);
  for (std::size_t i = 0; i < done.size(); ++i) {
    if (i >= plans_.size() || plans_[i].name != done[i]) {
      usage_error("stages: {} has already trained '{}'; stages must begin with it, or give another --run",
                  reader.path().string(), fmt::join(done, ", "));
    }
  }
  position.stage = finished.size();
  return position;
}

Trainer::Position Trainer::resume() {
  Position position;
  const torch::NoGradGuard no_grad;
  const auto load = [&](const checkpoint::Reader& reader) {
    position = position_of(reader);
    for (const auto& parameter : parameters_) reader.read_into(parameter);
    if (ranks_.shards) ranks_.shards->changed();
    stage_.reset();
    if (position.step > 0) {
      stage_ = plans_[position.stage].make();
      stage_index_ = position.stage;
      for (const auto& tensor : stage_->state()) reader.read_into(saved(tensor));
    }
  };
  const auto warn = [&](const std::string& line) { observer_.message("warning: " + line); };
  const auto step = checkpoint::load_newest(options_.checkpoints, team_of(ranks_.world), load, warn);
  if (step) observer_.message(fmt::format("continuing behind step {}", *step));
  return position;
}

void Trainer::save(const Position& position) {
  if (position.step > 0) stage_->unite_parameters();
  std::vector<checkpoint::ShardedTensor> tensors = parameters_;
  if (position.step > 0) {
    for (auto& tensor : stage_->state()) tensors.push_back(saved(std::move(tensor)));
  }
  nlohmann::json finished = nlohmann::json::array();
  for (std::size_t i = 0; i < position.stage; ++i) finished.push_back(plans_[i].name);
  const bool done = position.stage == plans_.size();
  const nlohmann::json extra = {{"stages_finished", finished},
                                {"stage", done ? std::string() : plans_[position.stage].name},
                                {"step", position.step}};
  const auto report = checkpoint::save(options_.checkpoints, global_step(position), tensors, extra,
                                       team_of(ranks_.world), {options_.checkpoint_keep});
  if (!report.warning.empty()) observer_.message("warning: " + report.warning);
}

StepRecord Trainer::run_step(std::int64_t step) {
  const auto begin = Clock::now();
  const StepReport report = stage_->step(step);
  std::vector<double> shares = {report.loss_share, report.samples_share, report.tokens_share};
  for (const auto& other : report.other_shares) shares.push_back(other.second);
  const auto sums = sum_over_ranks(ranks_.host, shares);

  StepRecord record;
  record.stage = stage_->name();
  record.step = step + 1;
  record.steps = stage_->steps();
  record.global_step = global_step({stage_index_, step + 1});
  record.epoch = stage_->epoch_of(step + 1);
  record.loss = sums[0];
  record.samples = sums[1];
  record.tokens = sums[2];
  for (std::size_t i = 0; i < report.other_shares.size(); ++i) {
    record.others.emplace_back(report.other_shares[i].first, sums[3 + i]);
  }
  record.learning_rate = report.learning_rate;
  record.gradient_norm = report.gradient_norm;
  record.seconds = seconds_since(begin);
  if (!std::isfinite(record.loss) || !std::isfinite(record.gradient_norm)) {
    numeric_error("stage {}, step {}: loss {}, gradient norm {}: not finite; start another --run with a lower "
                  "learning rate, or with clip", record.stage, record.step, record.loss, record.gradient_norm);
  }
  return record;
}

bool Trainer::stop_asked(bool vote) { return sum_over_ranks(ranks_.world, {vote ? 1.0 : 0.0})[0] > 0; }

Outcome Trainer::run() {
  const auto begin = Clock::now();
  Position position = resume();
  for (; position.stage < plans_.size(); position = {position.stage + 1, 0}) {
    const auto& plan = plans_[position.stage];
    if (!stage_ || stage_index_ != position.stage) {
      stage_.reset();
      stage_ = plan.make();
      stage_index_ = position.stage;
    }
    observer_.begun(plan.name, position.step, plan.steps);
    while (position.step < plan.steps) {
      observer_.stepped(run_step(position.step));
      ++position.step;
      const bool stop = options_.stop_after > 0 && stop_asked(seconds_since(begin) >= options_.stop_after);
      const bool last = position.step == plan.steps;
      if (stop && !last) {
        save(position);
        return Outcome::stopped;
      }
      if (!last && options_.checkpoint_every > 0 && position.step % options_.checkpoint_every == 0) save(position);
    }
    stage_->unite_parameters();
    stage_.reset();
    save({position.stage + 1, 0});
    if (options_.stop_after > 0 && position.stage + 1 < plans_.size() &&
        stop_asked(seconds_since(begin) >= options_.stop_after)) {
      return Outcome::stopped;
    }
  }
  return Outcome::finished;
}

}  // namespace medfuse::train
