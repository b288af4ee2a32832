// medfuse evaluate: scores of a run on one split, thresholds chosen on the validation split, and the report.
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "cluster/together.h"
#include "launch/command.h"
#include "launch/inference_progress.h"
#include "launch/run_frame.h"
#include "src/evaluate/disentanglement.h"
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
    selection_.describe_inputs(options, "run folder",
                               "another packed data set with labels; its scores go to evaluation.PARENT-FOLDER.json");
    options.add_argument("split", &split_, "train, validation or test");
    selection_.describe_rest(options);
  }

  std::chrono::milliseconds start_limit() const override { return launch::start_limit(selection_.timeout); }

  int run(const OptionTable&, cluster::Process& process) override {
    data::Split split = data::Split::test;
    cluster::together(process, [&] {
      require(selection_.run, "run", "the run folder");
      split = parse_split(split_);
      selection_.check();
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
      if (process.rank() == 0) check_output_file(fs::path(selection_.run) / "evaluation.json");
      if (!open.reader->info().has_labels) {
        data_error("{}: holds no labels to score against; `medfuse predict` needs none", open.data);
      }
      if (validation_rows.empty()) {
        data_error("{}: its validation split is empty, and thresholds need it; pack with split.validation above 0, train "
                   "on that", open.options.data);
      }
      if (rows.empty()) data_error("{}: its {} split is empty", open.data, split_);
    });
    const auto infer = [&](const data::PackedReader& reader, const std::vector<std::int64_t>& chosen, const std::string& what) {
      const evaluate::InferenceOptions options{selection_.micro_batch, open.loaded.fused(), /*parts=*/true,
                                               inference_progress(what, process.rank() == 0, *open.patience)};
      return evaluate::infer(*open.model, reader, chosen, open.job->ranks().host, options);
    };
    const auto validation = infer(validation_data, validation_rows, "validation");
    const auto judged = infer(*open.reader, rows, split_);
    open.patience->enter(train::Part::start, "writing the evaluation");
    if (process.rank() == 0) write(open, validation, judged);
    return 0;
  }

 private:
  void write(const OpenRun& open, const evaluate::Inference& validation, const evaluate::Inference& judged) {
    const evaluate::Predictions& predictions = judged.predictions;
    evaluate::Evaluation evaluation;
    evaluation.split = split_;
    evaluation.data = open.data;
    evaluation.stage = open.loaded.stages.empty() ? "" : open.loaded.stages.back();
    evaluation.step = open.loaded.step;
    evaluation.samples = std::ssize(predictions.admissions);
    evaluation.patients = std::ssize(std::set<std::int64_t>(predictions.patients.begin(), predictions.patients.end()));
    evaluation.scores = evaluate::score(predictions, evaluate::choose_thresholds(validation.predictions));
    evaluate::add_bootstrap_intervals(evaluation.scores, predictions, open.options.seed);
    // The parts' probes learn on the validation split: judged on it, they would only show what they know by heart.
    const bool held_out = split_ != "validation" || !selection_.data.empty();
    if (held_out && judged.shared_NG.defined() && validation.predictions.size() > 1) {
      evaluation.parts = evaluate::disentanglement(validation, judged, open.options.seed);
    }

    // The scores on the run's own test split are the run's result; others stand beside it.
    std::string suffix = split_ == "test" ? "" : "." + split_;
    if (!selection_.data.empty()) {
      // Packed folders are often all called alike: the one above tells them apart.
      const fs::path data = fs::weakly_canonical(open.data);
      suffix += "." + data.parent_path().filename().string() + "-" + data.filename().string();
    }
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
};

}  // namespace

std::unique_ptr<Command> evaluate_command() { return std::make_unique<EvaluateCommand>(); }

}  // namespace medfuse::launch
