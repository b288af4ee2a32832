// The part of the suite on members that do not come: whoever waits for one says so in time, whatever the operation.
#include "base/error.h"
#include "tests/cluster/conformance.h"
#include "tests/cluster/operations.h"

namespace medfuse::cluster {
namespace {

constexpr auto patience = std::chrono::milliseconds(150);
TEST_P(Conformance, AMissingMemberIsReportedInTime) {
  // Groups of one go along: other groups of the same job meet with them.
  for (const Operation& operation : operations()) {
    const auto c = GetParam().make();
    const int missing = c->size() - 1;
    at::Tensor own = at::full({1}, test_process().rank(), at::TensorOptions(c->device()).dtype(at::kLong));
    at::Tensor world_ranks = at::empty({c->size()}, own.options());
    c->all_gather(world_ranks, own)->wait();
    const auto missing_rank = std::to_string(world_ranks[missing].item<std::int64_t>());
    test_process().barrier();
    if (c->rank() != missing) {
      c->set_timeout(patience);
      const auto start = std::chrono::steady_clock::now();
      std::string message;
      try {
        operation.come(*c, missing);
        c->barrier();  // NCCL says it at the next wait on the host
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::communication);
        message = error.what();
      }
      EXPECT_LT(std::chrono::steady_clock::now() - start, patience + std::chrono::seconds(5)) << operation.name;
      const std::string begin = "rank " + std::to_string(test_process().rank()) + " waited 0.15 s in ";
      EXPECT_TRUE(message.starts_with(begin + operation.name)) << operation.name << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos);
      // A broadcast is waited for along its tree: only the first of those who wait know more than their neighbour.
      if (GetParam().names_peers && (operation.name != "broadcast of" || c->rank() == 0)) {
        const std::size_t place = message.find(" for rank");
        EXPECT_NE(place, std::string::npos) << message;
        EXPECT_NE(message.find(missing_rank, place), std::string::npos) << message;
      }
    }
    test_process().barrier();
    if (GetParam().names_peers) {  // over MPI what was given up still goes on, and must end before MPI does
      if (c->rank() == missing && c->size() > 1) operation.finish(*c, missing);
      c->set_timeout(std::chrono::minutes(1));
      c->barrier();
    } else {
      c->set_timeout(patience);  // the others have left
    }
  }
}

}  // namespace
}  // namespace medfuse::cluster
