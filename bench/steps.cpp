// What training together costs a step: all ranks on one model against as many independent ones at the same time, each
// with the same work as a rank of the first. Text encoder of configs/demo.cfg, one thread a rank:
//   medfuse_bench_steps [ROUNDS TEXTS TOKENS]     per rank and step
// Prints CSV. "exposed" is the time that a step of the first spends in collectives, waiting for the others included.
#include <fmt/format.h>

#include "bench/alternate.h"
#include "bench/arguments.h"
#include "bench/text_training.h"
#include "bench/timed_communicator.h"
#include "cluster/mpi_communicator.h"
#include "cluster/together.h"

namespace medfuse::bench {
namespace {

int run(cluster::Process& process, int argc, char** argv) {
  if (argc != 1 && argc != 4) usage_error("usage: medfuse_bench_steps [ROUNDS TEXTS TOKENS]");
  const std::int64_t rounds = argc == 1 ? 12 : number(argv[1], 1);
  const TextWork work = argc == 1 ? TextWork{} : TextWork{number(argv[2], 1), number(argv[3], 1)};
  const auto world = cluster::make_mpi_communicator(process);
  const auto self = world->split(process.rank(), 0);
  TimedCommunicator timed(*world);
  TextTraining together(demo_options(), work, {timed, timed}), alone(demo_options(), work, {*self, *self});
  together.step();  // the first steps touch memory for the first time
  alone.step();

  const double before = timed.seconds();
  constexpr std::int64_t repeats = 2;
  const auto seconds = alternate(process, rounds, repeats, {[&] { together.step(); }, [&] { alone.step(); }});
  const double exposed = process.all_reduce(timed.seconds() - before, cluster::Combine::max) /
                         static_cast<double>(rounds * repeats);
  if (process.rank() == 0) {
    fmt::print("ranks,texts,tokens,together_ms,alone_ms,ratio,exposed_ms\n{},{},{},{:.1f},{:.1f},{:.3f},{:.2f}\n",
               process.size(), work.texts, work.tokens, seconds[0] * 1e3, seconds[1] * 1e3, seconds[1] / seconds[0],
               exposed * 1e3);
  }
  return 0;
}

}  // namespace
}  // namespace medfuse::bench

int main(int argc, char** argv) {
  medfuse::cluster::Process process(&argc, &argv);
  return medfuse::cluster::run_job(process, [&] { return medfuse::bench::run(process, argc, argv); });
}
