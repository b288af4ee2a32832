// medfuse predict: one row per sample of a packed data set, a probability per disease.
#include <numeric>

#include "base/error.h"
#include "base/files.h"
#include "cluster/together.h"
#include "launch/command.h"
#include "launch/inference_progress.h"
#include "launch/run_frame.h"
#include "src/evaluate/inference.h"

namespace medfuse::launch {

namespace {

class PredictCommand : public Command {
 public:
  std::string name() const override { return "predict"; }
  std::string summary() const override { return "one row per sample: admission id, then a probability per disease"; }
  std::string usage() const override { return "medfuse predict --run DIR --data DIR --output FILE.csv"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    selection_.describe_inputs(options, "run folder",
                               "packed data set (medfuse pack --like RUN); all its samples are predicted");
    options.add_argument("output", &output_, "CSV file to write, readable by you only");
    selection_.describe_rest(options);
  }

  std::chrono::milliseconds start_limit() const override { return launch::start_limit(selection_.timeout); }

  int run(const OptionTable&, cluster::Process& process) override {
    cluster::together(process, [&] {
      require(selection_.run, "run", "the run folder");
      require(selection_.data, "data", "a packed data set");
      require(output_, "output", "the CSV file to write");
      selection_.check();
      check_output_file(output_);
    });
    OpenRun open = open_run(process, selection_);
    std::vector<std::int64_t> rows(static_cast<std::size_t>(open.reader->size()));
    std::iota(rows.begin(), rows.end(), 0);
    auto predictions = evaluate::predict(*open.model, *open.reader, rows, open.job->ranks().host,
                                         {selection_.micro_batch, open.loaded.fused(), false,
                                          inference_progress("predict", process.rank() == 0, *open.patience)});
    open.patience->enter(train::Part::start, "writing the predictions");
    predictions.diseases = open.trained.diseases;  // the data may know none
    cluster::together(process, [&] {
      if (process.rank() == 0) evaluate::write_predictions(output_, predictions);
    });
    if (process.rank() == 0) fmt::print("{} rows written to {}\n", rows.size(), output_);
    return 0;
  }

 private:
  RunSelection selection_;
  std::string output_;
};

}  // namespace

std::unique_ptr<Command> predict_command() { return std::make_unique<PredictCommand>(); }

}  // namespace medfuse::launch
