// medfuse info: versions, devices, ranks and a short self-test of the communicator.
#include <fmt/core.h>
#include <hdf5.h>

#include "cluster/device.h"
#include "cluster/launcher.h"
#include "cluster/self_test.h"
#include "launch/command.h"

namespace medfuse::launch {

namespace {

class InfoCommand : public Command {
 public:
  std::string name() const override { return "info"; }
  std::string summary() const override { return "versions, devices, ranks, a short self-test"; }
  std::string usage() const override { return "medfuse info [--device auto|cpu|cuda]"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add("device", &device_, "auto, cpu or cuda: what the self-test runs on");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    const at::Device device = cluster::choose_device(process, device_);
    auto communicator = cluster::make_communicator(process, device);
    const auto ranks = cluster::rank_lines(process, device);
    const auto test = cluster::self_test(*communicator);
    if (process.rank() != 0) return 0;
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    fmt::print("medfuse {}\nHDF5 {}.{}.{}\n", MEDFUSE_VERSION, major, minor, release);
    fmt::print("{}\n", cluster::launch_line(process.launch(), process.size()));
    for (const auto& lines : {cluster::version_lines(), ranks, test}) {
      for (const auto& line : lines) fmt::print("{}\n", line);
    }
    return 0;
  }

 private:
  std::string device_ = "auto";
};

}  // namespace

std::unique_ptr<Command> info_command() { return std::make_unique<InfoCommand>(); }

}  // namespace medfuse::launch
