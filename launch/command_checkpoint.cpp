// medfuse checkpoint list|verify: what a run has saved, and whether every byte of it is sound.
#include <filesystem>

#include "base/error.h"
#include "launch/command.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"

namespace medfuse::launch {

namespace {

class CheckpointCommand : public Command {
 public:
  std::string name() const override { return "checkpoint"; }
  std::string summary() const override { return "list or verify the checkpoints of a run"; }
  std::string usage() const override { return "medfuse checkpoint list|verify --run DIR"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("action", &action_, "list: what there is; verify: read every byte against its checksum");
    options.positional("action");
    options.add_argument("run", &run_, "run folder");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    require(run_, "run", "the run folder");
    if (action_ != "list" && action_ != "verify") usage_error("checkpoint {}: not known: list, verify", action_);
    if (process.size() > 1) usage_error("checkpoint reads files only: start it alone, without mpirun");
    const auto all = checkpoint::list(std::filesystem::path(run_) / "checkpoints");
    if (all.empty()) data_error("{}: holds no checkpoint", run_);
    std::size_t damaged = 0;
    for (const auto& info : all) {
      if (!info.problem.empty()) {
        fmt::print("{}  DAMAGED: {}\n", info.path.filename().string(), info.problem);
        ++damaged;
        continue;
      }
      fmt::print("{}  {} tensors, {} files, {:.1f} MiB\n", info.path.filename().string(), info.tensors, info.files,
                 static_cast<double>(info.bytes) / (1 << 20));
      if (action_ == "verify") damaged += verify(info.path) ? 0 : 1;
    }
    if (damaged > 0) data_error("{}: {} of {} checkpoints are damaged; delete them", run_, damaged, all.size());
    return 0;
  }

 private:
  static bool verify(const std::filesystem::path& path) {
    const auto report = checkpoint::verify(path);
    for (const auto& problem : report.problems) fmt::print("  DAMAGED: {}\n", problem);
    if (report.problems.empty()) fmt::print("  sound: {} blocks, {} bytes read\n", report.blocks, report.bytes);
    return report.problems.empty();
  }

  std::string action_ = "list";
  std::string run_;
};

}  // namespace

std::unique_ptr<Command> checkpoint_command() { return std::make_unique<CheckpointCommand>(); }

}  // namespace medfuse::launch
