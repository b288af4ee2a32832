#include "src/train/trainer.h"

#include <torch/torch.h>

#include <chrono>
#include <cmath>

#include "base/error.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/writer.h"

namespace medfuse::train {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

Trainer::Trainer(TrainerOptions options, std::vector<StagePlan> stages, std::vector<NamedTensor> parameters, Ranks ranks,
                 Observer observer)
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

Trainer::Position Trainer::resume() {
  Position position;
  const torch::NoGradGuard no_grad;
  const auto load = [&](const checkpoint::Reader& reader) {
    const auto& extra = reader.extra();
    if (!extra.contains("stage") || !extra["stage"].is_string() || !extra.contains("step") ||
        !extra["step"].is_number_integer()) {
      throw checkpoint::DamagedError(
          fmt::format("{}: does not say which stage and step it is of; delete it", reader.path().string()));
    }
    const std::string name = extra["stage"];
    position = {0, extra["step"]};
    while (position.stage < plans_.size() && plans_[position.stage].name != name) ++position.stage;
    if (position.stage == plans_.size() && name != "done") {
      data_error("{}: it is in stage '{}', which stages does not name; add it, or give another --run",
                 reader.path().string(), name);
    }
    for (const auto& parameter : parameters_) reader.read_into(parameter.name, parameter.tensor);
    stage_.reset();
    if (position.stage < plans_.size() && position.step > 0) {
      stage_ = plans_[position.stage].make();
      stage_index_ = position.stage;
      for (const auto& tensor : stage_->state()) reader.read_into("optimizer." + tensor.name, tensor.tensor);
    }
    if (name == "done") position.stage = extra.value("stages_done", plans_.size());
  };
  const auto warn = [&](const std::string& line) { observer_.message("warning: " + line); };
  const auto step = checkpoint::load_newest(options_.checkpoints, team_of(ranks_.host), load, warn);
  if (step) observer_.message(fmt::format("continuing behind step {}", *step));
  if (position.stage < plans_.size()) observer_.begun(plans_[position.stage].name, position.step);
  return position;
}

void Trainer::save(const Position& position) {
  std::vector<checkpoint::ShardedTensor> tensors;
  for (const auto& parameter : parameters_) {
    tensors.push_back(checkpoint::replicated(parameter.name, parameter.tensor.detach()));
  }
  const bool inside = position.stage < plans_.size() && position.step > 0;
  if (inside) {
    for (const auto& tensor : stage_->state()) {
      tensors.push_back(checkpoint::replicated("optimizer." + tensor.name, tensor.tensor.detach()));
    }
  }
  const bool done = position.stage >= plans_.size();
  nlohmann::json begun = nlohmann::json::array();  // stages that have done a step
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    if (i < position.stage || (i == position.stage && position.step > 0)) begun.push_back(plans_[i].name);
  }
  const nlohmann::json extra = {{"stage", done ? std::string("done") : plans_[position.stage].name},
                                {"step", position.step},
                                {"stages_done", position.stage},
                                {"stages_begun", begun}};
  const auto report = checkpoint::save(options_.checkpoints, global_step(position), tensors, extra,
                                       team_of(ranks_.host), {options_.checkpoint_keep});
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
    numeric_error("stage {}, step {}: loss {}, gradient norm {}: not finite; lower the learning rate and run again: it "
                  "continues from the last checkpoint", record.stage, record.step, record.loss, record.gradient_norm);
  }
  return record;
}

bool Trainer::stop_asked(bool vote) { return sum_over_ranks(ranks_.host, {vote ? 1.0 : 0.0})[0] > 0; }

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
