// medfuse checkpoint list|verify|reshard: what a run has saved, whether every byte of it is sound, and in how many files.
#include <chrono>
#include <filesystem>
#include <optional>

#include <fmt/chrono.h>

#include "base/error.h"
#include "launch/command.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/reshard.h"
#include "src/checkpoint/retention.h"
#include "src/checkpoint/verify.h"

namespace medfuse::launch {

namespace {
namespace fs = std::filesystem;

/// Where training was, in words: "encoders, step 120", "behind encoders", "all stages done".
std::string position(const nlohmann::json& extra) {
  const auto stage = extra.value("stage", std::string());
  const auto step = extra.value("step", std::int64_t{0});
  if (step > 0) return fmt::format("{}, step {}", stage, step);
  if (stage.empty()) return "all stages done";
  const auto finished = extra.value("stages_finished", std::vector<std::string>());
  return finished.empty() ? "the beginning" : fmt::format("behind {}", finished.back());
}

std::string saved_at(const checkpoint::CheckpointInfo& info) {
  std::error_code error;
  const auto time = fs::last_write_time(info.path / "manifest.json", error);
  if (error) return "";
  const auto system = std::chrono::file_clock::to_sys(time);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(std::chrono::system_clock::to_time_t(
                                                  std::chrono::time_point_cast<std::chrono::seconds>(system))));
}

class CheckpointCommand : public Command {
 public:
  std::string name() const override { return "checkpoint"; }
  std::string summary() const override { return "list, verify or reshard the checkpoints of a run"; }
  std::string usage() const override { return "medfuse checkpoint list|verify|reshard --run DIR [--step N] [--output DIR]"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("action", &action_,
                         "list: what there is; verify: read every byte against its checksum; reshard: write one anew with "
                         "another number of files");
    options.positional("action");
    options.add_argument("run", &run_, "run folder");
    options.add("step", &step_, "only the checkpoint of this step, over all stages; -1: all, or for reshard the newest");
    options.add_argument("output", &output_, "reshard: an empty or new folder, in which a step-... folder will stand");
    options.add("files", &files_, "reshard: how many files; tensors under 1 MiB are not cut, so there may be fewer");
  }

  int run(const OptionTable& options, cluster::Process& process) override {
    require(run_, "run", "the run folder");
    if (action_ != "list" && action_ != "verify" && action_ != "reshard") {
      usage_error("checkpoint {}: not known: list, verify, reshard", action_);
    }
    if (action_ != "reshard" && (!output_.empty() || options.given("files"))) {
      usage_error("checkpoint {}: --output and --files are for reshard", action_);
    }
    if (process.size() > 1) usage_error("checkpoint works on files only: start it alone, without mpirun");
    auto all = checkpoint::list(fs::path(run_) / "checkpoints");
    const auto newest = newest_sound(all);
    if (step_ >= 0) std::erase_if(all, [this](const auto& info) { return info.step != step_; });
    if (all.empty()) {
      if (step_ >= 0) data_error("{}: holds no checkpoint of step {}; `medfuse checkpoint list` shows what there is", run_, step_);
      data_error("{}: holds no checkpoint", run_);
    }
    return action_ == "reshard" ? reshard(all) : show(all, newest);
  }

 private:
  static std::optional<fs::path> newest_sound(const std::vector<checkpoint::CheckpointInfo>& all) {
    std::optional<fs::path> newest;
    for (const auto& info : all) {
      if (info.problem.empty()) newest = info.path;
    }
    return newest;
  }

  int show(const std::vector<checkpoint::CheckpointInfo>& all, const std::optional<fs::path>& newest) {
    const auto best = checkpoint::best_checkpoint(fs::path(run_) / "checkpoints");
    std::size_t damaged = 0;
    for (const auto& info : all) {
      const std::string name = info.path.filename().string();
      if (!info.problem.empty()) {
        fmt::print("{}  DAMAGED: {}\n", name, info.problem);
        ++damaged;
        continue;
      }
      std::string line = fmt::format("{}  {:<22}  {}  {:9.1f} MiB  {} tensors in {} file{}", name, position(info.extra),
                                     saved_at(info), static_cast<double>(info.bytes) / (1 << 20), info.tensors, info.files,
                                     info.files == 1 ? "" : "s");
      if (const auto score = checkpoint::score_in(info.extra)) {
        line += fmt::format("  score {:.4f}{}", *score, info.path == best ? " (best)" : "");
      }
      if (info.path == newest) line += "  <- a run continues here";
      fmt::print("{}\n", line);
      if (action_ == "verify") damaged += verify(info.path) ? 0 : 1;
    }
    if (damaged > 0) {
      data_error("{}: {} of {} checkpoints are damaged; runs pass over them, delete them to make room", run_, damaged, all.size());
    }
    return 0;
  }

  static bool verify(const fs::path& path) {
    const auto report = checkpoint::verify(path);
    for (const auto& problem : report.problems) fmt::print("  DAMAGED: {}\n", problem);
    if (report.problems.empty()) fmt::print("  sound: {} blocks, {} bytes read\n", report.blocks, report.bytes);
    return report.problems.empty();
  }

  int reshard(const std::vector<checkpoint::CheckpointInfo>& all) {
    require(output_, "output", "the folder for the new one");
    const auto chosen = newest_sound(all);
    if (!chosen) data_error("{}: {}", run_, all.back().problem);
    const auto report = checkpoint::reshard(*chosen, output_, files_);
    fmt::print("{}: {} bytes of tensors in {} file{}\n", report.path.string(), report.bytes,
               checkpoint::list(output_).front().files, files_ == 1 ? "" : "s");
    return 0;
  }

  std::string action_ = "list";
  std::string run_;
  std::string output_;
  std::int64_t step_ = -1;
  std::int64_t files_ = 1;
};

}  // namespace

std::unique_ptr<Command> checkpoint_command() { return std::make_unique<CheckpointCommand>(); }

}  // namespace medfuse::launch
