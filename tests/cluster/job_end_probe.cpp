// A small program for job_end_test: it fails in the way that its argument says.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/together.h"
#include "tests/cluster/operations.h"

using namespace medfuse;
using namespace medfuse::cluster;

namespace {

/// The last rank is stopped or killed, and the others try every operation without it. Rank 0 says how each ended.
void lose_the_last_rank(Process& process, int signal) {
  const std::vector<Operation> all = operations();
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (std::size_t i = 0; i < all.size(); ++i) communicators.push_back(make_mpi_communicator(process));
  process.barrier();
  const int last = process.size() - 1;
  if (process.rank() == last) raise(signal);
  for (std::size_t i = 0; i < all.size(); ++i) {
    communicators[i]->set_timeout(std::chrono::milliseconds(300));
    try {
      all[i].come(*communicators[i], last);
    } catch (const Error& error) {
      if (i + 1 == all.size()) throw;
      if (process.rank() == 0) fmt::print(stderr, "medfuse: {}\n", error.what());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "";
  Process process(&argc, &argv);
  process.set_timeout(std::chrono::milliseconds(way == "hang" ? 500 : 60000));
  const int last = process.size() - 1;
  return run_job(process, [&]() -> int {
    if (way == "agreed") {  // one rank finds a bad file
      together(process, [&] {
        if (process.rank() == last) data_error("row 7 is bad");
      });
    } else if (way == "agreed-path") {  // one rank may not read a path
      together(process, [&] {
        if (process.rank() == last) std::filesystem::create_directory("/proc/nowhere/made");
      });
    } else if (way == "alone-path") {
      if (process.rank() == last) std::filesystem::create_directory("/proc/nowhere/made");
      process.barrier();
    } else if (way == "alone") {  // the others wait in a barrier
      if (process.rank() == last) numeric_error("the loss is not finite");
      process.barrier();
    } else if (way == "alike") {  // all find the same, without agreeing on it
      usage_error("unknown option");
    } else if (way == "hang") {
      if (process.rank() == last) sleep(30);
      process.barrier();
    } else if (way == "last-stopped") {
      lose_the_last_rank(process, SIGSTOP);
    } else if (way == "last-killed") {
      lose_the_last_rank(process, SIGKILL);
    }
    return way == "stopped" ? 85 : 0;
  });
}
