// medfuse pack: EHR tables -> packed shards.
#include <fmt/core.h>

#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "cluster/together.h"
#include "data/cohort/pack.h"
#include "data/tokenizer/tokenizer.h"
#include "launch/command.h"
#include "launch/pack_options.h"
#include "launch/train_options.h"
#include "src/train/run_folder.h"

namespace medfuse::launch {

namespace {

namespace fs = std::filesystem;

data::Team team_of(cluster::Process& process) {
  data::Team team;
  team.index = process.rank();
  team.count = process.size();
  const auto reduce = [&process](cluster::Combine combine) {
    return [&process, combine](std::vector<double>& values) { values = process.all_reduce(values, combine); };
  };
  team.sum = reduce(cluster::Combine::sum);
  team.min = reduce(cluster::Combine::min);
  team.max = reduce(cluster::Combine::max);
  team.barrier = [&process] { process.barrier(); };
  return team;
}

class PackCommand : public Command {
 public:
  std::string name() const override { return "pack"; }
  std::string summary() const override { return "EHR tables -> packed HDF5 shards (parallel over ranks)"; }
  std::string usage() const override {
    return "medfuse pack --config FILE --input DIR --output DIR\n"
           "       medfuse pack --like RUN --input DIR --output DIR     (new patients, labels not needed)";
  }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("config", &config_, "configuration file; the command line wins over it");
    options.add_argument("input", &input_, "folder of the tables");
    options.add_argument("output", &output_, "folder to write");
    options.add_argument("like", &like_, "run folder: take its labs, scaling, sections and tokenizer");
    add_pack_options(options, settings_);
    add_train_options(train_table_, train_);
    options.tolerate(train_table_);
  }

  int run(const OptionTable& options, cluster::Process& process) override {
    require(input_, "input", "the folder of the tables");
    require(output_, "output", "the folder to write");
    data::PackOptions pack_options;
    data::TextEncoder encoder;
    std::optional<data::Tokenizer> tokenizer;
    cluster::together(process, [&] {
      pack_options = like_.empty() ? settings_.pack : like_options(options);
      pack_options.input = input_;
      pack_options.output = output_;
      check_options(pack_options);
      const std::string source = fs::absolute(tokenizer_source(pack_options)).lexically_normal().string();
      tokenizer.emplace(data::Tokenizer::load(source));
      encoder = data::text_encoder(*tokenizer, source);
      if (pack_options.like && encoder.fingerprint != pack_options.like->tokenizer_fingerprint) {
        data_error("{}: not the tokenizer of the run {}; give the right one with --text.tokenizer", source, like_);
      }
    });
    data::PackReporter reporter;
    reporter.log = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
    reporter.progress = [](const std::string& table, std::uint64_t rows) { fmt::print(stderr, "{}: {} rows read\n", table, rows); };
    const auto summary = data::pack(pack_options, encoder, team_of(process), reporter);
    if (process.rank() == 0) {
      for (const auto& line : data::format_summary(summary)) fmt::print("{}\n", line);
    }
    return 0;
  }

 private:
  /// The run decides what a sample is; the options may still say where things lie and how to treat bad rows. A
  /// configuration file may be the one that the run's own data was packed with, and so name the rest; a command line that
  /// does means to change it.
  data::PackOptions like_options(const OptionTable& options) {
    auto pack = data::options_like(train::trained_on(like_));
    if (options.set("bad_rows")) pack.bad_rows = settings_.pack.bad_rows;
    if (options.set("shard_samples")) pack.shard_samples = settings_.pack.shard_samples;
    for (const auto& row : data::table_options()) {
      if (options.set(row.option)) pack.tables.*row.member = settings_.pack.tables.*row.member;
    }
    for (const char* fixed : {"diseases", "text.sections", "text.note_categories", "text.abnormal_labs", "text.max_tokens",
                              "labs.value", "labs.window_hours", "labs.count", "labs.items", "labs.abnormal_flags",
                              "split.train", "split.validation", "split.seed", "split.file"}) {
      if (options.given(fixed)) usage_error("{} cannot be given with --like: the run decides it", fixed);
    }
    return pack;
  }

  std::string tokenizer_source(const data::PackOptions& pack) const {
    if (!settings_.tokenizer.empty()) return settings_.tokenizer;
    if (!settings_.model.empty()) return settings_.model;
    if (pack.like) return pack.like->tokenizer;
    usage_error("text.model is missing: the Hugging Face folder whose tokenizer.json is to be used");
  }

  std::string config_, input_, output_, like_;
  PackSettings settings_;
  OptionTable train_table_;
  train::TrainOptions train_;
};

}  // namespace

std::unique_ptr<Command> pack_command() { return std::make_unique<PackCommand>(); }

}  // namespace medfuse::launch
