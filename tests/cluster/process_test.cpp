// The control plane and the agreement on errors.
#include "cluster/process.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "base/error.h"
#include "cluster/together.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {
namespace {

std::string text_of(int rank) { return std::string(static_cast<std::size_t>(rank * 1000), 'a') + std::to_string(rank); }

TEST(Process, KnowsItsPlace) {
  Process& p = test_process();
  EXPECT_GE(p.rank(), 0);
  EXPECT_LT(p.rank(), p.size());
  EXPECT_EQ(p.local_size(), p.size());  // the tests run on one node
  EXPECT_EQ(p.local_rank(), p.rank());
  EXPECT_FALSE(p.host().empty());
}

TEST(Process, BroadcastsTexts) {
  Process& p = test_process();
  for (int root = 0; root < p.size(); ++root) {
    EXPECT_EQ(p.broadcast(p.rank() == root ? text_of(root) : "not mine", root), text_of(root));
  }
  EXPECT_EQ(p.broadcast(""), "");
  std::string binary("\0\n\xff", 3);
  EXPECT_EQ(p.broadcast(p.rank() == 0 ? binary : ""), binary);
}

TEST(Process, GathersTexts) {
  Process& p = test_process();
  const auto all = p.all_gather(text_of(p.rank()));
  ASSERT_EQ(all.size(), static_cast<std::size_t>(p.size()));
  for (int r = 0; r < p.size(); ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], text_of(r));
  for (int root = 0; root < p.size(); ++root) {
    const auto gathered = p.gather(text_of(p.rank()), root);
    if (p.rank() == root) {
      EXPECT_EQ(gathered, all);
    } else {
      EXPECT_TRUE(gathered.empty());
    }
  }
}

TEST(Process, ReducesNumbers) {
  Process& p = test_process();
  const double n = p.size();
  const std::vector<double> values{1.0 * p.rank(), 0.5, -1.0 * p.rank()};
  EXPECT_EQ(p.all_reduce(values, Combine::sum), (std::vector<double>{n * (n - 1) / 2, n / 2, -n * (n - 1) / 2}));
  EXPECT_EQ(p.all_reduce(values, Combine::min), (std::vector<double>{0, 0.5, -(n - 1)}));
  EXPECT_EQ(p.all_reduce(values, Combine::max), (std::vector<double>{n - 1, 0.5, 0}));
  EXPECT_EQ(p.all_reduce(std::int64_t{1} << 60, Combine::max), std::int64_t{1} << 60);
  EXPECT_EQ(p.all_reduce(std::int64_t{p.rank()}, Combine::min), 0);
  EXPECT_TRUE(p.all_reduce(std::vector<double>{}, Combine::sum).empty());
}

TEST(Process, FaultsAndTimeouts) {
  Process& p = test_process();
  EXPECT_THROW(p.broadcast("", p.size()), std::logic_error);
  if (p.size() == 1) return;
  const auto patience = p.timeout();
  if (p.rank() == 0) {
    p.set_timeout(std::chrono::milliseconds(100));
    try {
      p.all_gather("here");
      ADD_FAILURE() << "did not time out";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::communication);
      EXPECT_NE(std::string(error.what()).find("rank 0 waited 0.1 s in all_gather of texts for rank"), std::string::npos)
          << error.what();
    }
    p.set_timeout(patience);
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    EXPECT_EQ(p.all_gather("late").front(), "here");
  }
  p.barrier();
}

/// What together() made of a step: the message where this rank speaks, "silent CODE" where it does not, "" if all is well.
std::string outcome(const std::function<void()>& step) {
  try {
    together(test_process(), step);
    return "";
  } catch (const SilentExit& exit) {
    return "silent " + std::to_string(exit.code);
  } catch (const AgreedError& error) {
    return error.what() + (" " + std::to_string(static_cast<int>(error.code())));
  }
}

TEST(Together, SucceedsWhereAllDo) {
  int runs = 0;
  EXPECT_EQ(outcome([&] { ++runs; }), "");
  EXPECT_EQ(runs, 1);
}

TEST(Together, OneFailingRankSpeaksForAll) {
  Process& p = test_process();
  for (int failing = 0; failing < p.size(); ++failing) {
    const std::string result = outcome([&] {
      if (p.rank() == failing) data_error("row {} is bad", failing);
    });
    EXPECT_EQ(result, p.rank() == failing ? fmt::format("row {} is bad 3", failing) : "silent 3");
  }
}

TEST(Together, TheLowestOfSeveralSpeaks) {
  Process& p = test_process();
  const int lowest = p.size() / 2;
  const std::string result = outcome([&] {
    if (p.rank() > lowest) numeric_error("later");
    if (p.rank() == lowest) usage_error("first");
  });
  EXPECT_EQ(result, p.rank() == lowest ? "first 2" : "silent 2");
  EXPECT_EQ(outcome([] { usage_error("everywhere"); }), p.rank() == 0 ? "everywhere 2" : "silent 2");
}

TEST(Together, MayBeNested) {
  Process& p = test_process();
  const int failing = p.size() - 1;
  const std::string result = outcome([&] {
    together(p, [&] {
      if (p.rank() == failing) data_error("inner");
    });
  });
  EXPECT_EQ(result, p.rank() == failing ? "inner 3" : "silent 3");
}

TEST(Together, ForeignExceptionsAreInternalFaults) {
  EXPECT_EQ(outcome([] { throw std::logic_error("a fault"); }),
            test_process().rank() == 0 ? "internal error: a fault 1" : "silent 1");
}

TEST(RunJob, ReturnsCodes) {
  Process& p = test_process();
  EXPECT_EQ(run_job(p, [] { return 85; }), 85);
  testing::internal::CaptureStderr();
  const int code = run_job(p, [&]() -> int {
    together(p, [&] {
      if (p.rank() == 0) data_error("no such file");
    });
    return 0;
  });
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_EQ(code, 3);
  EXPECT_EQ(printed, p.rank() == 0 ? "medfuse: no such file\n" : "");
}

}  // namespace
}  // namespace medfuse::cluster
