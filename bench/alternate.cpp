#include "bench/alternate.h"

#include <chrono>

#include "bench/median.h"
#include "cluster/mpi_calls.h"

namespace medfuse::bench {

std::vector<double> alternate(cluster::Process& process, std::int64_t rounds, std::int64_t repeats,
                              const std::vector<std::function<void()>>& ways) {
  std::vector<std::vector<double>> seconds(ways.size());
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const std::size_t way = round % 2 == 0 ? i : ways.size() - 1 - i;
      // MPI's own: it leaves the ranks closer together than one that yields to others.
      MEDFUSE_MPI(MPI_Barrier(MPI_COMM_WORLD));
      const auto start = std::chrono::steady_clock::now();
      for (std::int64_t repeat = 0; repeat < repeats; ++repeat) ways[way]();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      seconds[way].push_back(taken.count() / static_cast<double>(repeats));
    }
  }
  std::vector<double> medians;
  for (const auto& own : seconds) medians.push_back(median(own));
  return process.all_reduce(medians, cluster::Combine::max);
}

}  // namespace medfuse::bench
