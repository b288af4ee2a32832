// A small program for job_end_test: it fails in the way that its argument says.
#include <unistd.h>

#include <string>

#include "cluster/together.h"

using namespace medfuse;
using namespace medfuse::cluster;

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
    } else if (way == "alone") {  // the others wait in a barrier
      if (process.rank() == last) numeric_error("the loss is not finite");
      process.barrier();
    } else if (way == "alike") {  // all find the same, without agreeing on it
      usage_error("unknown option");
    } else if (way == "hang") {
      if (process.rank() == last) sleep(30);
      process.barrier();
    }
    return way == "stopped" ? 85 : 0;
  });
}
