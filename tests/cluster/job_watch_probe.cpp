// A small program for job_watch_test: its ranks get stuck in the way that its argument says. One second is the limit of most
// phases; the collectives themselves have none.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "cluster/job_watch.h"
#include "cluster/mpi_communicator.h"
#include "cluster/together.h"

using namespace medfuse;
using namespace medfuse::cluster;

namespace {

constexpr auto limit = std::chrono::seconds(1);
constexpr auto no_limit = std::chrono::hours(10);

void stop_here() { raise(SIGSTOP); }

/// This process stops at once for some seconds, as one of a job that the queue has suspended.
void suspend(int seconds) {
  const auto command = fmt::format("(kill -STOP {0}; sleep {1}; kill -CONT {0}) &", getpid(), seconds);
  if (std::system(command.c_str()) != 0) numeric_error("no shell");
}

/// 0 and 1 wait for 2, which is stopped, and 3 waits for 1 in a group of its own; its limit is the first to be over.
void wait_in_a_chain(Process& process, Communicator& world) {
  const int rank = process.rank();
  const auto most = world.split(rank == 3 ? 1 : 0, rank);
  const auto pair = world.split(rank == 1 || rank == 3 ? 0 : 1, rank);
  process.barrier();
  process.watch().watchdog().begin("a step", rank == 3 ? limit : 2 * limit, "timeout.step");
  if (rank == 2) stop_here();
  (rank == 3 ? pair : most)->barrier();
}

int run(Process& process, const std::string& way) {
  const int rank = process.rank(), last = process.size() - 1;
  Watchdog& watchdog = process.watch().watchdog();
  process.set_timeout(no_limit);
  const auto world = make_mpi_communicator(process);
  if (way == "chain") {
    wait_in_a_chain(process, *world);
  } else if (way == "first-stopped") {
    watchdog.begin("a step", limit, "timeout.step");
    if (rank == 0) stop_here();
    world->barrier();
  } else if (way == "stuck") {  // as in a read from a file system that hangs
    watchdog.begin("a step", limit, "timeout.step");
    if (rank == last) pause();
    world->barrier();
  } else if (way == "knot") {
    watchdog.begin("a step", limit, "timeout.step");
    at::Tensor tensor = at::zeros({3});
    world->receive(tensor, 1 - rank)->wait();
  } else if (way == "busy") {  // longer than those who wait allow themselves, but within its own limit
    watchdog.begin("long work", rank == last ? 20 * limit : limit);
    if (rank == last) sleep(5);
    world->barrier();
    fmt::print("medfuse: all met\n");
  } else if (way == "suspended") {
    watchdog.begin("a step", std::chrono::seconds(4), "timeout.step");
    suspend(7);
    usleep(100000);
    world->barrier();
    fmt::print("medfuse: all met\n");
  } else if (way == "told") {
    watchdog.begin("a step", 60 * limit, "timeout.step");
    process.watch().set_stop_asked([] { return true; });
    if (rank == last) stop_here();
    world->barrier();
  } else if (way == "end") {
    if (rank == last) stop_here();
  } else if (way == "wait") {  // for what the test does to the job
    watchdog.begin("a step", no_limit);
    fmt::print("medfuse: pid {}\n", getpid());
    std::fflush(stdout);
    pause();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "";
  ProcessLimits limits{.end = limit};
  if (way == "start") limits.start = 3 * limit;
  Process process(&argc, &argv, limits);
  return run_job(process, [&] { return run(process, way); });
}
