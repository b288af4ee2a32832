// medfuse impute: trains the masked lab model on a plain numeric table and fills its empty cells.
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "data/tables/numeric_table.h"
#include "launch/command.h"
#include "launch/ranges.h"
#include "src/train/impute.h"
#include "src/train/progress.h"

namespace medfuse::launch {

namespace {

class ImputeCommand : public Command {
 public:
  std::string name() const override { return "impute"; }
  std::string summary() const override { return "fill the empty cells of a plain numeric CSV table"; }
  std::string usage() const override { return "medfuse impute --input TABLE.csv --output FULL.csv"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("input", &input_, "CSV: a header row, then numbers or nothing");
    options.add_argument("output", &output_, "CSV to write: observed cells byte for byte, empty ones filled");
    options.add("extra_decimals", &extra_decimals_,
                "decimals of a filled cell beyond those of its column; 0 rounds columns of whole numbers to whole numbers");
    options.group("Training (the defaults suit most tables)");
    options.add("epochs", &options_.epochs, "passes over the table; 0: chosen by the number of rows");
    options.add("batch", &options_.batch, "rows per step");
    options.add("learning_rate", &options_.learning_rate, "at its peak");
    options.add("mask_ratio", &options_.labs.mask_ratio, "share of the observed cells that is masked");
    options.add("width", &options_.labs.width, "width of a token");
    options.add("encoder_layers", &options_.labs.encoder_layers, "blocks of the encoder");
    options.add("decoder_layers", &options_.labs.decoder_layers, "blocks of the decoder");
    options.add("heads", &options_.labs.heads, "attention heads");
    options.add("seed", &options_.seed, "of masks, order and initial values");
    options.add("threads", &options_.threads, "0: as many as the machine has");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    require(input_, "input", "the table to fill");
    require(output_, "output", "the file to write");
    if (process.size() > 1) usage_error("impute uses threads, not ranks: start it alone, without mpirun");
    between("--extra_decimals", extra_decimals_, std::int64_t{0}, std::int64_t{12});
    check_output_file(output_);
    if (std::filesystem::exists(output_) && std::filesystem::equivalent(input_, output_)) {
      usage_error("--output {}: is the table itself; name another file, or nobody can tell filled cells from observed ones",
                  output_);
    }
    if (!(options_.labs.mask_ratio > 0 && options_.labs.mask_ratio < 1)) {
      usage_error("--mask_ratio {} must lie between 0 and 1", options_.labs.mask_ratio);
    }
    const auto table = data::NumericTable::read(input_);
    train::Progress progress;
    const auto show = [&](const train::ImputeProgress& step) {
      if (step.step == 0) progress.begin("impute", 0, step.steps);
      else progress.update(step.step, step.loss, step.batch, 0);
    };
    const auto full = train::impute(options_, table.columns(), table.values(), show);
    progress.finish();
    write_file_atomically(output_, table.completed(full, static_cast<int>(extra_decimals_)));
    fmt::print("{} empty cells of {} rows x {} columns filled: {}\n", table.empty_cells(), table.rows(), table.columns(),
               output_);
    return 0;
  }

 private:
  std::string input_, output_;
  std::int64_t extra_decimals_ = 3;
  train::ImputeOptions options_;
};

}  // namespace

std::unique_ptr<Command> impute_command() { return std::make_unique<ImputeCommand>(); }

}  // namespace medfuse::launch
