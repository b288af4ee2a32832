// medfuse train: all stages of a run; continues by itself where the run stopped.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "base/checksum.h"
#include "base/error.h"
#include "base/files.h"
#include "cluster/job_watch.h"
#include "cluster/launcher.h"
#include "cluster/together.h"
#include "launch/command.h"
#include "launch/pack_options.h"
#include "launch/patience.h"
#include "launch/run_frame.h"
#include "launch/stopping.h"
#include "launch/train_options.h"
#include "launch/validation.h"
#include "src/train/encoders_stage.h"
#include "src/train/feed.h"
#include "src/train/fusion_stage.h"
#include "src/train/metrics_log.h"
#include "src/train/progress.h"
#include "src/train/run_folder.h"
#include "src/train/trainer.h"
#include "src/train/weights_identity.h"

namespace medfuse::launch {

namespace {

namespace fs = std::filesystem;

/// What rank 0 shows and writes of a run: the progress line and metrics.jsonl.
class Witness {
 public:
  Witness(const train::RunFolder& folder, const train::TrainOptions& options)
      : metrics_path_(folder.metrics()), stages_(options.stages) {}

  train::Observer observer() {
    train::Observer observer;
    observer.begun = [this](const std::string& stage, std::int64_t step, std::int64_t steps) {
      cut_back(stage, step);
      progress_.finish();
      progress_.begin(stage, step, steps);
    };
    observer.stepped = [this](const train::StepRecord& record) { step(record); };
    observer.message = [this](const std::string& line) { progress_.message(line); };
    return observer;
  }
  /// Ends the progress line.
  void finish() { progress_.finish(); }

 private:
  void cut_back(const std::string& stage, std::int64_t step) {
    log_.reset();
    const auto damaged = train::cut_back_metrics(metrics_path_, stages_, stage, step);
    if (damaged > 0) {
      progress_.message(fmt::format("warning: {}: {} line{} no record of a step: left out", metrics_path_.string(), damaged,
                                    damaged == 1 ? " was" : "s were"));
    }
    log_.emplace(metrics_path_);
  }

  void step(const train::StepRecord& record) {
    progress_.update(record.step, record.loss, static_cast<std::int64_t>(record.samples),
                     static_cast<std::int64_t>(record.tokens));
    if (record.step == record.steps) progress_.finish();
    train::StepMetrics line;
    line.stage = record.stage;
    line.step = record.step;
    line.epoch = record.epoch;
    line.loss = record.loss;
    line.learning_rate = record.learning_rate;
    line.grad_norm = record.gradient_norm;
    line.tokens_per_second = record.tokens / record.seconds;
    line.samples_per_second = record.samples / record.seconds;
    line.seconds = record.seconds;
    line.more = record.others;
    log_->append(line);
  }

  fs::path metrics_path_;
  std::vector<std::string> stages_;
  train::Progress progress_;
  std::optional<train::MetricsLog> log_;
};

class TrainCommand : public Command {
 public:
  std::string name() const override { return "train"; }
  std::string summary() const override { return "train all stages; continues by itself where the run stopped"; }
  std::string usage() const override { return "medfuse train --config FILE --run DIR [--KEY VALUE ...]"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("config", &config_, "configuration file; the command line wins over it");
    options.add_argument("run", &run_, "run folder: checkpoints, metrics, results; run again to continue");
    add_train_options(options, options_);
    add_pack_options(pack_table_, pack_);
    options.tolerate(pack_table_);
  }

  std::chrono::milliseconds start_limit() const override { return launch::start_limit(options_.timeout); }

  int run(const OptionTable& options, cluster::Process& process) override {
    cluster::together(process, [&] {
      require(run_, "run", "the run folder");
      check(options_);
      // The run must work from any folder later.
      options_.data = fs::absolute(options_.data).lexically_normal().string();
      options_.text.model = fs::absolute(options_.text.model).lexically_normal().string();
      if (!options_.stop.file.empty()) options_.stop.file = fs::absolute(options_.stop.file).lexically_normal().string();
    });
    Patience patience(process, options_.timeout);
    stopping_.emplace(options_.stop, process.rank() == 0);
    process.watch().set_stop_asked([this] { return stopping_->signalled(); });
    if (process.rank() == 0) fmt::print(stderr, "{}\n", cluster::launch_line(process.launch(), process.size()));
    weights::LlamaConfig text;
    cluster::together(process, [&] { text = weights::read_llama_config(options_.text.model); });
    JobRanks job(process, options_.device, mesh(text));
    if (process.rank() == 0 && process.size() > 1) fmt::print(stderr, "{}", job.rank_map());
    train::Ranks ranks = job.ranks();
    std::optional<data::PackedReader> reader;
    std::optional<train::RunFolder> folder;
    patience.enter(train::Part::start, "opening the data");
    cluster::together(process, [&] {
      reader.emplace(options_.data);
      if (!reader->info().has_labels) data_error("data.path {}: holds no labels to train on", options_.data);
      train::check_tokenizer(reader->info(), options_.data, options_.text.model, text.vocab_size);
      if (reader->info().labs.empty()) data_error("data.path {}: holds no lab columns; pack it with labs", options_.data);
      train::check_training_samples(*reader, std::max(ranks.size(), ranks.split ? ranks.split->host.size() : 0));
    });
    if (stopping_->asked_early(process)) return leave(process, train::Outcome::not_begun);
    patience.enter(train::Part::start, "loading the weights");
    const std::string identity = train::weights_identity(options_.text.model, train::team_of(ranks.world), process.host());
    const std::string index = same_everywhere(process);
    // The settings are written down once a model could be made of them.
    std::unique_ptr<model::MedfuseModel> model;
    if (options_.parallel.zero == 3) ranks.shards = train::make_shards(ranks);
    cluster::together(process, [&] {
      folder.emplace(run_);
      if (process.rank() == 0) take_lock(*folder);
      stopping_->watch_file(folder->path());
      model = std::make_unique<model::MedfuseModel>(train::model_options(options_, reader->info()),
                                                    job.tensor_parallel(options_.parallel.sequence),
                                                    train::weight_store(ranks));
      model->to(job.device());
      model->text->cache_frozen_states(options_.text_cache_mib << 20);
      if (options_.validate_every > 0) score_ = validation_score(*model, *reader, ranks, options_.micro_batch);
      folder->adopt(options.resolved(), index, identity);
    });
    std::optional<Witness> witness;
    if (process.rank() == 0) witness.emplace(*folder, options_);
    if (witness) stopping_->speak_through(witness->observer().message);

    const checkpoint::Retention retention{options_.checkpoint_keep, options_.checkpoint_keep_every, options_.checkpoint_best};
    const train::TrainerOptions trainer_options{.checkpoints = {folder->checkpoints(), retention, options.resolved(),
                                                                train::inputs_of(index, identity)},
                                                .checkpoint_every = options_.checkpoint_every,
                                                .background = options_.checkpoint_background,
                                                .validate_every = options_.validate_every,
                                                .bad_steps = options_.bad_steps,
                                                .stop = &stopping_->requests()};
    train::Observer observer = witness ? witness->observer() : train::Observer{};
    observer.entered = [&patience](train::Part part, const std::string& what) { patience.enter(part, what); };
    train::Trainer trainer(trainer_options, plan(*model, *reader, ranks),
                           train::trainable_blocks(*model, ranks.shards.get()), ranks, observer);
    const auto outcome = trainer.run();
    if (witness) witness->finish();
    stopping_->speak_through({});
    return leave(process, outcome);
  }

 private:
  /// `text` must outlive it.
  cluster::MeshOptions mesh(const weights::LlamaConfig& text) const {
    cluster::MeshOptions mesh{.tensor = static_cast<int>(options_.parallel.tensor),
                              .across_nodes = options_.parallel.across_nodes};
    if (options_.parallel.layout == "split") mesh.lab_ranks = static_cast<int>(options_.parallel.lab_ranks);
    mesh.model = [&text](std::int64_t degree) {
      return model::degree_obstacle(degree, text.num_attention_heads, text.num_key_value_heads, text.intermediate_size);
    };
    return mesh;
  }

  /// index.json of the packed data, which may lie on the nodes' own disks. Collective. Throws on ranks whose data are others.
  std::string same_everywhere(cluster::Process& process) const {
    std::string index;
    cluster::together(process, [&] { index = read_file(fs::path(options_.data) / "index.json"); });
    const std::string mine = hex(checksum(index)), of_first = process.broadcast(mine);
    cluster::together(process, [&] {
      if (mine == of_first) return;
      data_error("data.path {}: on {} (rank {}) these are other data than on {} (rank 0): copy them to all nodes anew",
                 options_.data, process.host(), process.rank(), process.hosts().front());
    });
    return index;
  }

  void take_lock(train::RunFolder& folder) const {
    // Within the time that starting may take, or the watchdog would end the wait.
    folder.lock(std::chrono::duration<double>(std::min(options_.timeout.lock, options_.timeout.start / 2)),
                [](const std::string& line) { fmt::print(stderr, "medfuse: {}\n", line); });
  }

  int leave(const cluster::Process& process, train::Outcome outcome) {
    stopping_->carried_out();
    if (outcome == train::Outcome::finished) return static_cast<int>(ExitCode::done);
    if (process.rank() == 0) {
      const bool begun = outcome == train::Outcome::stopped;
      fmt::print(stderr, "medfuse: stopped on request {}; run the same command again to continue\n",
                 begun ? "with a checkpoint" : "before the first step, when there was nothing new to save");
    }
    return static_cast<int>(ExitCode::stopped);
  }

  std::vector<train::Trainer::StagePlan> plan(model::MedfuseModel& model, const data::PackedReader& reader,
                                              train::Ranks ranks) const {
    std::vector<train::Trainer::StagePlan> plans;
    for (const auto& stage : options_.stages) {
      if (stage == "encoders") {
        plans.push_back({stage, train::EncodersStage::count_steps(options_, reader), [this, &model, &reader, ranks] {
                           return std::make_unique<train::EncodersStage>(options_, model, reader, ranks);
                         }});
      } else {
        plans.push_back({stage, train::FusionStage::count_steps(options_, reader), [this, &model, &reader, ranks] {
                           return std::make_unique<train::FusionStage>(options_, model, reader, ranks);
                         }, score_});
      }
    }
    return plans;
  }

  std::string config_, run_;
  train::TrainOptions options_;
  std::optional<Stopping> stopping_;
  train::Score score_;  // of the fusion stage's model; empty: none is wanted
  OptionTable pack_table_;
  PackSettings pack_;
};

}  // namespace

std::unique_ptr<Command> train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace medfuse::launch
