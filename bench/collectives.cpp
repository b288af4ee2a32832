// How fast this project's collectives are beside the bare MPI calls, in one run under mpirun, on any number of ranks:
//   medfuse_bench_collectives [SMALLEST LARGEST ROUNDS]     sizes in bytes, each four times the one before
// Prints CSV: operation, bytes, then microseconds and bus bandwidth of both, and the ratio of the bandwidths.
//
// As nccl-tests has it, "bytes" is the longer of the two buffers of a rank, and for n ranks the bus bandwidth is
// bytes / time, times 2 (n - 1) / n for all_reduce and (n - 1) / n for the others: what each link must carry at least.
#include <ATen/Functions.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "base/error.h"
#include "bench/alternate.h"
#include "bench/arguments.h"
#include "cluster/mpi_calls.h"
#include "cluster/mpi_communicator.h"
#include "cluster/together.h"

namespace medfuse::bench {
namespace {

using cluster::Communicator;
using cluster::Process;
using cluster::Reduction;

struct Range {
  std::int64_t smallest = 1 << 10;
  std::int64_t largest = 256 << 20;
  std::int64_t rounds = 10;
};

Range range_of(int argc, char** argv) {
  Range range;
  if (argc == 1) return range;
  if (argc != 4) usage_error("usage: medfuse_bench_collectives [SMALLEST LARGEST ROUNDS]");
  range = {number(argv[1], 4), number(argv[2], 4), number(argv[3], 1)};
  if (range.smallest > range.largest) usage_error("no size from {} up to {}", range.smallest, range.largest);
  return range;
}

/// One collective both ways, on the same memory.
struct Contest {
  const char* name;
  double steps;  ///< bus bandwidth over bytes / time
  std::function<void()> ours, bare;
  at::Tensor input, result, expected;
};

/// Whole numbers below 2^24 / ranks, so that f32 sums are exact, and different on each rank.
at::Tensor pattern(int rank, std::int64_t count) {
  return (at::arange(count, at::kLong) * 7 + rank * 13).remainder(1009).to(at::kFloat);
}

at::Tensor sum_of_patterns(int ranks, std::int64_t count) {
  at::Tensor sum = pattern(0, count);
  for (int r = 1; r < ranks; ++r) sum += pattern(r, count);
  return sum;
}

/// `block` elements for each rank make the longer buffer.
std::vector<Contest> contests(Communicator& c, std::int64_t block) {
  const int n = c.size(), me = c.rank();
  const int length = static_cast<int>(block), total = static_cast<int>(n * block);
  const double link = static_cast<double>(n - 1) / n;
  const at::Tensor whole = at::empty({n * block}, at::kFloat), part = at::empty({block}, at::kFloat);
  float* const wholes = whole.mutable_data_ptr<float>();
  float* const parts = part.mutable_data_ptr<float>();
  const at::Tensor sum = sum_of_patterns(n, n * block);
  std::vector<at::Tensor> gathered;
  for (int r = 0; r < n; ++r) gathered.push_back(pattern(r, block));
  return {
      {"all_reduce", 2 * link, [=, &c] { c.all_reduce(whole, Reduction::sum)->wait(); },
       [=] { MEDFUSE_MPI(MPI_Allreduce(MPI_IN_PLACE, wholes, total, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD)); }, whole, whole,
       sum},
      {"reduce_scatter", link, [=, &c] { c.reduce_scatter(part, whole, Reduction::sum)->wait(); },
       [=] { MEDFUSE_MPI(MPI_Reduce_scatter_block(wholes, parts, length, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD)); }, whole,
       part, sum.narrow(0, me * block, block)},
      {"all_gather", link, [=, &c] { c.all_gather(whole, part)->wait(); },
       [=] { MEDFUSE_MPI(MPI_Allgather(parts, length, MPI_FLOAT, wholes, length, MPI_FLOAT, MPI_COMM_WORLD)); }, part,
       whole, at::cat(gathered)}};
}

void check(const Process& process, const Contest& contest, const std::function<void()>& run, const char* whose) {
  contest.result.fill_(-1);
  contest.input.copy_(pattern(process.rank(), contest.input.numel()));
  run();
  if (at::equal(contest.result, contest.expected)) return;
  communication_error("rank {}: wrong values from {}'s {} of {} elements", process.rank(), whose, contest.name,
                      contest.input.numel());
}

void measure(Process& process, const Contest& contest, std::int64_t bytes, std::int64_t rounds) {
  check(process, contest, contest.ours, "medfuse");
  check(process, contest, contest.bare, "MPI");
  contest.input.zero_();  // sums of zeros stay finite however often they are repeated
  const auto repeats = std::max<std::int64_t>(1, (1 << 18) / bytes);
  const auto times = alternate(process, rounds, repeats, {contest.ours, contest.bare});
  if (process.rank() != 0) return;
  const auto bandwidth = [&](double seconds) { return static_cast<double>(bytes) / seconds * contest.steps / 1e9; };
  fmt::print("{},{},{:.1f},{:.3f},{:.1f},{:.3f},{:.2f}\n", contest.name, bytes, times[0] * 1e6, bandwidth(times[0]),
             times[1] * 1e6, bandwidth(times[1]), times[1] / times[0]);
  std::fflush(stdout);
}

int run(Process& process, const Range& range) {
  const auto communicator = cluster::make_mpi_communicator(process);
  const int n = communicator->size();
  if (process.rank() == 0) fmt::print("operation,bytes,medfuse_us,medfuse_GB/s,mpi_us,mpi_GB/s,ratio\n");
  for (std::int64_t bytes = range.smallest; bytes <= range.largest; bytes *= 4) {
    const std::int64_t block = std::max<std::int64_t>(1, bytes / 4 / n);
    for (const Contest& contest : contests(*communicator, block)) measure(process, contest, block * n * 4, range.rounds);
  }
  return 0;
}

}  // namespace
}  // namespace medfuse::bench

int main(int argc, char** argv) {
  medfuse::cluster::Process process(&argc, &argv);
  return medfuse::cluster::run_job(process, [&] { return medfuse::bench::run(process, medfuse::bench::range_of(argc, argv)); });
}
