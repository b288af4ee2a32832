#include "src/train/run_checkpoints.h"

#include <c10/util/accumulate.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "src/parallel/weight_shards.h"
#include "src/train/run_folder.h"

namespace medfuse::train {

namespace {

using nlohmann::json;

/// A stage's tensor under its name in checkpoints.
checkpoint::ShardedTensor saved(checkpoint::ShardedTensor tensor) {
  tensor.name = "optimizer." + tensor.name;
  return tensor;
}

}  // namespace

std::string changed_settings(const checkpoint::Reader& reader, const std::string& config) {
  const std::string saved = reader.extra().value("config", std::string());
  return saved.empty() ? "" : differences(saved, config);
}

std::string changed_inputs(const checkpoint::Reader& reader, const Inputs& inputs) {
  const json saved = reader.extra().value("inputs", json::object());
  const auto differs = [&](const char* key, const std::string& now) { return saved.value(key, now) != now; };
  if (differs("data", inputs.data)) return "other packed data";
  return differs("weights", inputs.weights) ? "other weights" : "";
}

RunCheckpoints::RunCheckpoints(CheckpointOptions options, Tensors parameters,
                               std::vector<std::pair<std::string, std::int64_t>> stages, Ranks ranks)
    : options_(std::move(options)),
      parameters_(std::move(parameters)),
      stages_(std::move(stages)),
      ranks_(ranks),
      writer_(options_.folder, team_of(ranks.world), options_.retention) {}

std::int64_t RunCheckpoints::global_step(const Position& position) const {
  std::int64_t steps = position.step;
  for (std::size_t i = 0; i < position.stage && i < stages_.size(); ++i) steps += stages_[i].second;
  return steps;
}

Position RunCheckpoints::position_of(const checkpoint::Reader& reader) const {
  std::vector<std::string> finished;
  std::string stage;
  Position position;
  try {
    finished = reader.extra().at("stages_finished").get<std::vector<std::string>>();
    stage = reader.extra().at("stage").get<std::string>();
    position.step = reader.extra().at("step").get<std::int64_t>();
    // Those of before did not say.
    position.good = reader.extra().value("good_steps", position.step);
    position.bad = reader.extra().value("bad_steps_in_a_row", std::int64_t{0});
    position.unscored = reader.extra().value("score_left_off", false);
  } catch (const json::exception&) {
    throw checkpoint::DamagedError(
        fmt::format("{}: does not say which stage and step it is of; delete it", reader.path().string()));
  }
  // The plan may go on behind what was done, but not leave out or reorder it.
  std::vector<std::string> done = finished;
  if (position.step > 0) done.push_back(stage);
  for (std::size_t i = 0; i < done.size(); ++i) {
    if (i >= stages_.size() || stages_[i].first != done[i]) {
      usage_error("stages: {} has already trained '{}'; stages must begin with it, or give another --run",
                  reader.path().string(), fmt::join(done, ", "));
    }
  }
  position.stage = finished.size();
  return position;
}

void RunCheckpoints::check_origin(const checkpoint::Reader& reader) const {
  if (options_.config.empty()) return;
  const std::string changed = changed_settings(reader, options_.config);
  if (!changed.empty()) {
    usage_error("{}: was saved with other settings: {}; keep them, or give another --run", reader.path().string(), changed);
  }
  const std::string others = changed_inputs(reader, options_.inputs);
  if (!others.empty()) {
    usage_error("{}: was saved by a run on {}; take it away, or give another --run", reader.path().string(), others);
  }
}

std::optional<Position> RunCheckpoints::load(const std::function<Tensors(const Position&)>& state_of,
                                             const std::function<void(const std::string&)>& warn) {
  Position position;
  const torch::NoGradGuard no_grad;
  const auto read = [&](const checkpoint::Reader& reader) {
    position = position_of(reader);
    check_origin(reader);
    for (const auto& parameter : parameters_) reader.read_into(parameter);
    if (ranks_.shards) ranks_.shards->changed();
    for (const auto& tensor : state_of(position)) reader.read_into(saved(tensor));
  };
  const auto step = checkpoint::load_newest(options_.folder, team_of(ranks_.world), read, warn);
  any_ = step.has_value();
  return any_ ? std::optional(position) : std::nullopt;
}

std::int64_t RunCheckpoints::bytes_with(const Tensors& state) const {
  json own = json::object();
  for (const Tensors* const tensors : {&parameters_, &state}) {
    for (const auto& tensor : *tensors) {
      own[tensor.name] = c10::multiply_integers(tensor.global_shape) * tensor.local.element_size();
    }
  }
  // No rank need hold a part of each tensor, and many may hold one of the same.
  json all = json::object();
  for (const std::string& text : team_of(ranks_.world).all_gather(own.dump())) all.update(json::parse(text));
  std::int64_t bytes = 0;
  for (const json& of_tensor : all) bytes += of_tensor.get<std::int64_t>();
  return bytes;
}

void RunCheckpoints::begin(const Position& position, const Tensors& state, std::optional<double> score) {
  const Stopwatch stopwatch;
  Tensors tensors = parameters_;
  for (const auto& tensor : state) tensors.push_back(saved(tensor));
  json finished = json::array();
  for (std::size_t i = 0; i < position.stage; ++i) finished.push_back(stages_[i].first);
  const bool done = position.stage == stages_.size();
  json extra = {{"stages_finished", finished},
                {"stage", done ? std::string() : stages_[position.stage].first},
                {"step", position.step},
                {"good_steps", position.good},
                {"bad_steps_in_a_row", position.bad}};
  if (score) extra["score"] = *score;
  if (position.unscored) extra["score_left_off"] = true;
  if (!options_.config.empty()) {
    extra["config"] = options_.config;
    extra["inputs"] = {{"data", options_.inputs.data}, {"weights", options_.inputs.weights}};
  }
  writer_.begin(global_step(position), tensors, extra);
  blocked_ = snapshot_ = stopwatch.seconds();
}

std::optional<SavedCheckpoint> RunCheckpoints::told(std::optional<checkpoint::SaveReport> report) {
  if (!report) return std::nullopt;
  any_ = true;
  return SavedCheckpoint{report->path, report->bytes, blocked_, snapshot_ + report->seconds, report->warning};
}

std::optional<SavedCheckpoint> RunCheckpoints::advance() { return told(writer_.advance()); }

std::optional<SavedCheckpoint> RunCheckpoints::finish() {
  const Stopwatch stopwatch;
  auto report = writer_.finish();
  blocked_ += stopwatch.seconds();
  return told(std::move(report));
}

}  // namespace medfuse::train
