// medfuse export: the text encoder of a run as a Hugging Face folder, or its adapters for peft.
#include <chrono>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "cluster/together.h"
#include "launch/command.h"
#include "launch/export_card.h"
#include "launch/ranges.h"
#include "launch/train_options.h"
#include "src/checkpoint/reader.h"
#include "src/train/run_folder.h"
#include "src/train/run_model.h"
#include "src/train/weights_identity.h"
#include "src/weights/hf_config.h"
#include "src/weights/merged_folder.h"
#include "src/weights/partial_folder.h"
#include "src/weights/peft_folder.h"

namespace medfuse::launch {

namespace {

namespace fs = std::filesystem;

/// The type that --dtype names; nothing for "".
std::optional<at::ScalarType> type_named(const std::string& name) {
  if (name.empty()) return std::nullopt;
  if (name == "f32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "f16") return at::kHalf;
  usage_error("--dtype {} is not known: f32, bf16, f16", name);
}

/// The adapters that a checkpoint holds, of any mesh.
std::map<std::string, weights::LoraFactors> read_adapters(const checkpoint::Reader& reader) {
  constexpr std::string_view prefix = "text.", suffix = ".lora_A.weight";
  std::map<std::string, weights::LoraFactors> adapters;
  for (const auto& info : reader.tensors()) {
    if (!info.name.starts_with(prefix) || !info.name.ends_with(suffix)) continue;
    const std::string name = info.name.substr(0, info.name.size() - suffix.size());
    adapters[name.substr(prefix.size())] = {reader.read(info.name), reader.read(name + ".lora_B.weight")};
  }
  return adapters;
}

class ExportCommand : public Command {
 public:
  std::string name() const override { return "export"; }
  std::string summary() const override { return "a run's text encoder -> Hugging Face folder, or PEFT adapter"; }
  std::string usage() const override {
    return "medfuse export --run DIR --output DIR [--kind merged|adapter]\n\n"
           "Writes the text encoder of a checkpoint, for transformers and peft to load.\n" +
           std::string(kExportLacks);
  }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("run", &run_, "run folder, trained on any number of ranks");
    options.add_argument("checkpoint", &checkpoint_, "newest; best: of the highest validation score; or the number of a step");
    options.add_argument("output", &output_, "folder to make, readable by you only; one that is there is refused");
    options.add_argument("text.model", &model_, "where the run's base weights lie now, if they have moved");
    options.add("kind", &kind_, "merged: the model with the adapters in its weights; adapter: for peft, on the base");
    options.add("dtype", &dtype_, "f32, bf16 or f16; default: merged: each tensor's type in the base, adapter: f32");
    options.add("shard_mib", &shard_mib_, "merged: larger weights go into several files of at most so many MiB");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    // The other ranks only wait for how it ends, which may take as long as the largest model takes to write.
    process.set_timeout(std::chrono::hours(24));
    cluster::together(process, [&] {
      if (process.rank() == 0) write();
    });
    return 0;
  }

 private:
  void write() const {
    require(run_, "run", "the run folder");
    checkpoint::check_choice(checkpoint_);
    require(output_, "output", "the folder to make");
    if (kind_ != "merged" && kind_ != "adapter") usage_error("--kind {} is not known: merged, adapter", kind_);
    between("--shard_mib", shard_mib_, std::int64_t{1}, std::int64_t{1} << 30);
    const auto dtype = type_named(dtype_);
    weights::check_output_folder(output_);
    const train::TrainOptions options = read_run_options(run_);
    if (kind_ == "adapter" && options.text.lora.rank == 0) {
      usage_error("--kind adapter: the run {} has no adapters (text.lora_rank 0); use --kind merged", run_);
    }
    train::Loaded standing;
    const weights::AdaptedEncoder encoder = read_encoder(options, standing);
    const std::string where = train::unfinished(standing, options.stages);
    if (!where.empty() && checkpoint_ == "newest") {
      fmt::print(stderr, "medfuse: warning: {}: training has not finished ({})\n", run_, where);
    }
    weights::PartialFolder folder(output_);
    std::string what = "adapter";
    if (kind_ == "merged") {
      const auto shard_bytes = static_cast<std::uint64_t>(shard_mib_) << 20;
      const auto files = weights::write_merged(encoder, folder.beside(), dtype, shard_bytes);
      what = fmt::format("merged encoder in {} weight file{}", files.size(), files.size() == 1 ? "" : "s");
    } else {
      weights::write_adapter(encoder, folder.beside(), dtype.value_or(at::kFloat));
    }
    const fs::path run_path = fs::absolute(fs::path(run_) / ".").lexically_normal().parent_path();
    const std::string run_name = run_path.filename().string();
    write_file_atomically(folder.beside() / "README.md",
                          export_card(encoder, run_name, standing.step, where, kind_ == "merged"));
    folder.commit();
    fmt::print("{} of step {} written to {}\n", what, standing.step, output_);
  }

  weights::AdaptedEncoder read_encoder(const train::TrainOptions& options, train::Loaded& standing) const {
    weights::AdaptedEncoder encoder;
    encoder.base = fs::absolute(model_.empty() ? options.text.model : model_).lexically_normal();
    encoder.alpha = options.text.lora.alpha;
    encoder.dropout = options.text.lora.dropout;
    const fs::path checkpoints = fs::path(run_) / "checkpoints";
    const auto load = [&](const checkpoint::Reader& reader) {
      train::check_settings_of(reader, run_);
      encoder.adapters = read_adapters(reader);
      standing = train::standing_of(reader);
    };
    const auto warn = [](const std::string& line) { fmt::print(stderr, "medfuse: warning: {}\n", line); };
    if (!checkpoint::load_chosen(checkpoints, checkpoint_, checkpoint::Team::alone(), load, warn)) {
      data_error("{}: holds no checkpoint; run `medfuse train`", checkpoints.string());
    }
    std::error_code ignored;
    if (!fs::is_directory(encoder.base, ignored)) {
      data_error("text.model {}: there is no such folder; say with --text.model where the weights of run {} lie now",
                 encoder.base.string(), run_);
    }
    const std::string identity = train::weights_identity(encoder.base, checkpoint::Team::alone(), "");
    train::check_trained_with(run_, identity, encoder.base.string());
    encoder.base_layers = weights::read_llama_config(encoder.base).num_hidden_layers;
    encoder.layers = options.text.layers == 0 ? encoder.base_layers : options.text.layers;
    return encoder;
  }

  std::string run_, output_, model_, dtype_;
  std::string checkpoint_ = "newest";
  std::string kind_ = "merged";
  std::int64_t shard_mib_ = 5000;
};

}  // namespace

std::unique_ptr<Command> export_command() { return std::make_unique<ExportCommand>(); }

}  // namespace medfuse::launch
