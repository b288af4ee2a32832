// medfuse evaluate: scores of a run on one split, thresholds chosen on the validation split, and the report.
#include <filesystem>
#include <set>

#include "base/error.h"
#include "cluster/together.h"
#include "launch/command.h"
#include "launch/run_frame.h"
#include "src/evaluate/evaluation_json.h"
#include "src/evaluate/inference.h"
#include "src/evaluate/report.h"
#include "src/evaluate/scores.h"

namespace medfuse::launch {

namespace {

namespace fs = std::filesystem;

data::Split parse_split(const std::string& name) {
  for (const auto split : {data::Split::train, data::Split::validation, data::Split::test}) {
    if (name == data::split_name(split)) return split;
  }
  usage_error("--split '{}' is not known: train, validation, test", name);
}

class EvaluateCommand : public Command {
 public:
  std::string name() const override { return "evaluate"; }
  std::string summary() const override { return "scores -> evaluation.json and report.html in the run folder"; }
  std::string usage() const override { return "medfuse evaluate --run DIR [--data DIR] [--split test]"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("run", &selection_.run, "run folder");
    options.add_argument("data", &selection_.data, "another packed data set with labels");
    options.add_argument("split", &split_, "train, validation or test");
    options.add_argument("text.model", &selection_.model, "where the base weights lie now, if they have moved");
    options.add_argument("device", &selection_.device, "auto, cpu or cuda");
    options.add("timeout", &selection_.timeout, "seconds after which a collective that a peer does not join is an error");
    options.add("micro_batch", &micro_batch_, "samples per forward pass on a rank");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    data::Split split = data::Split::test;
    cluster::together(process, [&] {
      require(selection_.run, "run", "the run folder");
      split = parse_split(split_);
      if (micro_batch_ < 1) usage_error("--micro_batch {} must be at least 1", micro_batch_);
    });
    OpenRun open = open_run(process, selection_);
    // Thresholds always come from the validation split of the run's own data, also for the scores of other data.
    std::unique_ptr<data::PackedReader> own;
    cluster::together(process, [&] {
      if (!selection_.data.empty()) own = std::make_unique<data::PackedReader>(open.options.data);
    });
    const data::PackedReader& validation_data = own ? *own : *open.reader;
    const auto validation_rows = validation_data.indices(data::Split::validation);
    const auto rows = open.reader->indices(split);
    cluster::together(process, [&] {
      if (!open.reader->info().has_labels) data_error("{}: holds no labels to score against", open.data);
      if (validation_rows.empty()) {
        data_error("{}: its validation split is empty, and thresholds need it", open.options.data);
      }
      if (rows.empty()) data_error("{}: its {} split is empty", open.data, split_);
    });
    const evaluate::InferenceOptions options{micro_batch_, open.loaded.fused()};
    cluster::Communicator& host = open.job->ranks().host;
    const auto validation = evaluate::predict(*open.model, validation_data, validation_rows, host, options);
    const auto predictions = evaluate::predict(*open.model, *open.reader, rows, host, options);
    if (process.rank() == 0) write(open, validation, predictions);
    return 0;
  }

 private:
  void write(const OpenRun& open, const evaluate::Predictions& validation, const evaluate::Predictions& predictions) {
    evaluate::Evaluation evaluation;
    evaluation.split = split_;
    evaluation.data = open.data;
    evaluation.stage = open.loaded.stages.empty() ? "" : open.loaded.stages.back();
    evaluation.step = open.loaded.step;
    evaluation.samples = std::ssize(predictions.admissions);
    evaluation.patients = std::ssize(std::set<std::int64_t>(predictions.patients.begin(), predictions.patients.end()));
    evaluation.scores = evaluate::score(predictions, evaluate::choose_thresholds(validation));
    evaluate::add_bootstrap_intervals(evaluation.scores, predictions, open.options.seed);

    // The scores on the run's own test split are the run's result; others stand beside it.
    std::string suffix = split_ == "test" ? "" : "." + split_;
    if (!selection_.data.empty()) suffix += "." + fs::weakly_canonical(open.data).filename().string();
    const fs::path folder = selection_.run;
    evaluate::write_evaluation(folder / ("evaluation" + suffix + ".json"), evaluation);
    evaluate::ReportOptions report;
    report.title = fmt::format("{}: {} split of {}", selection_.run, split_, open.data);
    report.metrics = folder / "metrics.jsonl";
    const std::string warning = evaluate::write_report(folder / ("report" + suffix + ".html"), evaluation, predictions, report);
    fmt::print("{}", evaluate::table(evaluation));
    if (!warning.empty()) fmt::print(stderr, "medfuse: warning: {}\n", warning);
    fmt::print("written: {0}/evaluation{1}.json, {0}/report{1}.html\n", selection_.run, suffix);
  }

  RunSelection selection_;
  std::string split_ = "test";
  std::int64_t micro_batch_ = 16;
};

}  // namespace

std::unique_ptr<Command> evaluate_command() { return std::make_unique<EvaluateCommand>(); }

}  // namespace medfuse::launch
