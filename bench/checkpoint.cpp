// What a checkpoint costs a training loop, and how fast it is written:
//   medfuse_bench_checkpoint FOLDER [MIB ROUNDS]     (default: 512 MiB of tensors that every rank holds, 5 rounds)
// In each round: a plain sequential write of the same bytes by rank 0 (1 MiB at a time, then fsync), a save that is waited
// for, and one in the background beside a loop of steps. Prints CSV, medians of the rounds: seconds that training stands
// still, seconds until it is on the disk, MiB/s of that, and steps per second while it is written, as a share of those
// without. bench/dcp.py does the same with PyTorch.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/descriptor.h"
#include "base/stopwatch.h"
#include "bench/arguments.h"
#include "bench/median.h"
#include "cluster/mpi_communicator.h"
#include "cluster/together.h"
#include "src/checkpoint/background_writer.h"
#include "src/checkpoint/tensors.h"
#include "src/train/ranks.h"

namespace medfuse::bench {
namespace {

namespace fs = std::filesystem;

/// A training step in small: products, and the ranks' word with each other behind it.
class Steps {
 public:
  explicit Steps(cluster::Communicator& world) : world_(world) {}

  /// True if all ranks said yes.
  bool step(bool yes) {
    for (int i = 0; i < 4; ++i) at::mm_out(product_, matrix_, matrix_);
    return train::sum_over_ranks(world_, {yes ? 1.0 : 0.0})[0] == world_.size();
  }

 private:
  cluster::Communicator& world_;
  at::Tensor matrix_ = at::full({384, 384}, 1e-3), product_ = at::empty({384, 384});
};

struct Figures {
  std::vector<double> blocked, written, speed;
};

/// All tensors one after the other into one file.
double write_plainly(const fs::path& path, const std::vector<checkpoint::ShardedTensor>& tensors) {
  constexpr std::size_t piece = 1 << 20;
  const Stopwatch whole;
  const Descriptor file = Descriptor::replace(path);
  std::int64_t offset = 0;
  for (const auto& tensor : tensors) {
    const char* const data = static_cast<const char*>(tensor.local.const_data_ptr());
    for (std::size_t at = 0; at < tensor.local.nbytes(); at += piece) {
      const std::size_t n = std::min(piece, tensor.local.nbytes() - at);
      file.write(data + at, n, offset);
      offset += static_cast<std::int64_t>(n);
    }
  }
  file.sync();
  return whole.seconds();
}

int run(cluster::Process& process, int argc, char** argv) {
  if (argc != 2 && argc != 4) usage_error("usage: medfuse_bench_checkpoint FOLDER [MIB ROUNDS]");
  const fs::path folder = argv[1];
  const std::int64_t mib = argc == 4 ? number(argv[2], 16) : 512, rounds = argc == 4 ? number(argv[3], 1) : 5;
  const auto world = cluster::make_mpi_communicator(process);
  const checkpoint::Team team = train::team_of(*world);
  std::vector<checkpoint::ShardedTensor> tensors;
  for (std::int64_t i = 0; i < mib / 16; ++i) {
    tensors.push_back(checkpoint::replicated(fmt::format("t{:05}", i), at::randn({2048, 2048})));
  }
  Steps steps(*world);
  checkpoint::BackgroundWriter writer(folder / "background", team);
  // What the round before left behind goes untimed, for every way and in bench/dcp.py alike.
  const auto clear = [&](const char* name) {
    process.barrier();
    if (process.rank() == 0) fs::remove_all(folder / name);
    process.barrier();
  };
  const auto background_save = [&](std::int64_t round, Figures& figures) {
    clear("background");
    const Stopwatch whole;
    writer.begin(round, tensors, {});
    const double blocked = whole.seconds();
    std::int64_t done = 0;
    const Stopwatch loop;
    for (bool complete = false; !complete;) {
      if (steps.step(writer.ready())) complete = writer.advance().has_value();
      ++done;
    }
    const double beside = static_cast<double>(done) / loop.seconds();
    figures.written.push_back(whole.seconds());
    figures.blocked.push_back(blocked);
    const Stopwatch alone;
    for (std::int64_t i = 0; i < done; ++i) steps.step(true);
    figures.speed.push_back(beside * alone.seconds() / static_cast<double>(done));
  };
  Figures plain, waited, background;
  Figures warm_up;
  background_save(0, warm_up);
  for (std::int64_t round = 1; round <= rounds; ++round) {
    clear("plain");
    if (process.rank() == 0) plain.written.push_back(write_plainly(folder / "plain", tensors));
    clear("waited");
    const Stopwatch whole;
    checkpoint::save(folder / "waited", round, tensors, {}, team);
    waited.written.push_back(whole.seconds());
    background_save(round, background);
  }
  if (process.rank() != 0) return 0;
  plain.blocked = plain.written;
  waited.blocked = waited.written;
  fmt::print("way,ranks,MiB,blocked_s,written_s,MiB/s,speed_beside\n");
  const auto print = [&](const char* way, const Figures& f) {
    fmt::print("{},{},{},{:.3f},{:.3f},{:.0f},{}\n", way, process.size(), mib, median(f.blocked), median(f.written),
               static_cast<double>(mib) / median(f.written), f.speed.empty() ? "" : fmt::format("{:.2f}", median(f.speed)));
  };
  print("plain write", plain);
  print("medfuse (waited for)", waited);
  print("medfuse (in the background)", background);
  return 0;
}

}  // namespace
}  // namespace medfuse::bench

int main(int argc, char** argv) {
  medfuse::cluster::Process process(&argc, &argv);
  return medfuse::cluster::run_job(process, [&] { return medfuse::bench::run(process, argc, argv); });
}
