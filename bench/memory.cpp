// The most that tensors take on a rank while SmolLM2-135M is fine-tuned, with adapters in all of its blocks:
//   medfuse_bench_memory TENSOR ZERO RECOMPUTE [TEXTS TOKENS]     parallel.tensor, parallel.zero, recompute; per rank
// Prints CSV without a header: ranks, the settings, MiB that stand between steps, MiB at the peak; of the rank that has
// most. Weights used where they are mapped do not count.
#include <fmt/format.h>

#include "bench/arguments.h"
#include "bench/tensor_meter.h"
#include "bench/text_training.h"
#include "cluster/mesh.h"
#include "cluster/mpi_communicator.h"
#include "cluster/together.h"

namespace medfuse::bench {
namespace {

int run(cluster::Process& process, int argc, char** argv) {
  if (argc != 4 && argc != 6) usage_error("usage: medfuse_bench_memory TENSOR ZERO RECOMPUTE [TEXTS TOKENS]");
  TensorMeter& meter = TensorMeter::instance();
  const TextWork work = argc == 4 ? TextWork{2, 256} : TextWork{number(argv[4], 1), number(argv[5], 1)};
  train::TrainOptions options = demo_options();
  options.text.layers = 0;
  options.text.lora.layers = "all";
  options.parallel.tensor = number(argv[1], 1);
  options.parallel.zero = number(argv[2], 0);
  options.recompute = argv[3];
  const auto world = cluster::make_mpi_communicator(process);
  const cluster::MeshGroups groups(
      *world, cluster::lay_out_mesh(process.hosts(), {.tensor = static_cast<int>(options.parallel.tensor)}));
  TextTraining training(options, work, {groups.data(), groups.data(), *world, groups.tensor(), groups.tensor()});
  training.step();
  training.step();
  const auto most = process.all_reduce(std::vector<std::int64_t>{meter.now(), meter.peak()}, cluster::Combine::max);
  const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  if (process.rank() == 0) {
    fmt::print("{},{},{},{},{:.1f},{:.1f}\n", process.size(), options.parallel.tensor, options.parallel.zero,
               options.recompute, mib(most[0]), mib(most[1]));
  }
  return 0;
}

}  // namespace
}  // namespace medfuse::bench

int main(int argc, char** argv) {
  medfuse::cluster::Process process(&argc, &argv);
  return medfuse::cluster::run_job(process, [&] { return medfuse::bench::run(process, argc, argv); });
}
