// medfuse embed: one text embedding per line of a file, or per packed sample of a run's data.
#include <numeric>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/hdf5.h"
#include "cluster/together.h"
#include "data/tokenizer/tokenizer.h"
#include "launch/command.h"
#include "launch/inference_progress.h"
#include "launch/run_frame.h"
#include "src/evaluate/inference.h"

namespace medfuse::launch {

namespace {

class EmbedCommand : public Command {
 public:
  std::string name() const override { return "embed"; }
  std::string summary() const override { return "one embedding per line of text, or per packed sample -> HDF5"; }
  std::string usage() const override {
    return "medfuse embed --model DIR --input LINES --output FILE.h5\n"
           "       medfuse embed --run DIR [--input LINES | --data DIR] --output FILE.h5";
  }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("model", &model_folder_, "Hugging Face folder: its encoder without adapters");
    selection_.describe_inputs(options, "run folder: the encoder with what it learned",
                               "packed data set instead of lines; default: the run's own");
    options.add_argument("input", &input_, "text file, one embedding per line");
    options.add_argument("output", &output_, "HDF5 file to write: dataset 'embedding' float32 [rows, width]");
    selection_.describe_rest(options);
    options.add("max_tokens", &max_tokens_, "longer lines are cut there; default with --run: as its data was");
  }

  std::chrono::milliseconds start_limit() const override { return launch::start_limit(selection_.timeout); }

  int run(const OptionTable& options, cluster::Process& process) override {
    max_tokens_given_ = options.given("max_tokens");
    cluster::together(process, [&] {
      require(output_, "output", "the HDF5 file to write");
      check_output_file(output_);
      if (model_folder_.empty() == selection_.run.empty()) usage_error("give either --model or --run");
      if (!model_folder_.empty()) require(input_, "input", "a text file, one embedding per line");
      if (!input_.empty() && !selection_.data.empty()) usage_error("give either --input or --data");
      selection_.check();
      if (max_tokens_ < 1) usage_error("--max_tokens {} must be at least 1", max_tokens_);
    });
    if (!selection_.run.empty()) return embed_run(process);
    std::shared_ptr<model::TextEncoder> encoder;
    Patience patience(process, selection_.timeout);
    JobRanks job(process, selection_.device);
    cluster::together(process, [&] {
      model::TextOptions text;
      text.model = model_folder_;
      text.lora.rank = 0;
      encoder = model::TextEncoder::load(text, torch::kFloat32, 0);
      encoder->to(job.device());
    });
    embed_lines(process, model_folder_, *encoder, job, patience);
    return 0;
  }

 private:
  int embed_run(cluster::Process& process) {
    selection_.needs_data = input_.empty();
    OpenRun open = open_run(process, selection_);
    if (!input_.empty()) {
      cluster::together(process, [&] {
        train::check_tokenizer(open.trained, open.options.data, open.options.text.model, open.model->text->config().vocab_size);
      });
      if (!max_tokens_given_) max_tokens_ = open.trained.max_tokens;
      embed_lines(process, open.options.text.model, *open.model->text, *open.job, *open.patience);
      return 0;
    }
    std::vector<std::int64_t> rows(static_cast<std::size_t>(open.reader->size()));
    std::iota(rows.begin(), rows.end(), 0);
    const at::Tensor table =
        evaluate::embed(*open.model, *open.reader, rows, open.job->ranks().host, inference(process, *open.patience));
    open.patience->enter(train::Part::start, "writing the embeddings");
    const auto ids = open.reader->admissions();
    write(process, table, {ids.begin(), ids.end()});
    return 0;
  }

  void embed_lines(cluster::Process& process, const std::string& model_folder, model::TextEncoder& encoder, JobRanks& job,
                   Patience& patience) {
    std::vector<std::vector<std::int32_t>> lines;
    cluster::together(process, [&] {
      const auto tokenizer = data::Tokenizer::load(model_folder);
      std::stringstream in(read_file(input_));
      for (std::string line; std::getline(in, line);) {
        if (line.ends_with('\r')) line.pop_back();
        lines.push_back(tokenizer.encode(line, static_cast<std::size_t>(max_tokens_)));
        if (lines.back().empty()) data_error("--input {}: line {} is empty; there is nothing to embed", input_, lines.size());
      }
      if (lines.empty()) data_error("--input {}: holds no line", input_);
    });
    const at::Tensor table = evaluate::embed_tokens(encoder, lines, job.ranks().host, inference(process, patience));
    patience.enter(train::Part::start, "writing the embeddings");
    write(process, table, {});
  }

  evaluate::InferenceOptions inference(cluster::Process& process, Patience& patience) const {
    return {selection_.micro_batch, true, false, inference_progress("embed", process.rank() == 0, patience)};
  }

  void write(cluster::Process& process, const at::Tensor& table, const std::vector<std::int64_t>& admissions) {
    cluster::together(process, [&] {
      if (process.rank() != 0) return;
      PartialFile partial(output_);
      auto file = hdf5::File::create(partial.beside());
      const at::Tensor rows = table.contiguous();
      file.write_matrix("embedding", std::vector<float>(rows.data_ptr<float>(), rows.data_ptr<float>() + rows.numel()),
                        static_cast<std::size_t>(rows.size(1)));
      if (!admissions.empty()) file.write("admission", admissions);
      file.close();
      partial.commit();
      fmt::print("{} embeddings of width {} written to {}\n", rows.size(0), rows.size(1), output_);
    });
  }

  RunSelection selection_;
  std::string model_folder_, input_, output_;
  std::int64_t max_tokens_ = 512;
  bool max_tokens_given_ = false;
};

}  // namespace

std::unique_ptr<Command> embed_command() { return std::make_unique<EmbedCommand>(); }

}  // namespace medfuse::launch
