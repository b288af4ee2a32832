// Guarantee 2: a resumed run equals an uninterrupted one bit for bit; and another number of ranks may continue.
#include <gtest/gtest.h>

#include <stdexcept>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

cluster::Process& process() {
  static cluster::Process instance;
  return instance;
}

struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

class ResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(process());
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process().broadcast(folder_.path().string());
  }
  void TearDown() override { process().barrier(); }

  tiny::Run train(cluster::Communicator& group, const std::string& name, const std::string& precision = "f32",
                  const std::function<void(const StepRecord&)>& after_step = {}) {
    auto options = tiny::options(precision);
    options.micro_batch = 2;
    return tiny::train(options, *reader_, {group, group}, shared_ / name, 3, after_step);
  }

  tiny::TempFolder folder_;
  std::filesystem::path shared_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
};

TEST_F(ResumeTest, BitForBitWhereverItIsBroken) {
  const auto whole = train(*world_, "whole");
  for (const std::int64_t broken_after : {4, 10, 11, 17}) {
    const std::string name = "broken" + std::to_string(broken_after);
    const auto kill = [&](const StepRecord& record) {
      if (record.global_step == broken_after) throw Killed();
    };
    EXPECT_THROW(train(*world_, name, "f32", kill), Killed);
    world_->barrier();
    const auto resumed = train(*world_, name);
    EXPECT_LT(resumed.losses.size(), 20u) << "it began afresh";
    for (std::size_t i = 0; i < whole.parameters.size(); ++i) {
      EXPECT_TRUE(at::equal(resumed.parameters[i].second, whole.parameters[i].second))
          << whole.parameters[i].first << ", broken after step " << broken_after;
    }
    const std::size_t offset = whole.losses.size() - resumed.losses.size();
    for (std::size_t i = 0; i < resumed.losses.size(); ++i) EXPECT_EQ(resumed.losses[i], whole.losses[offset + i]);
  }
}

// Broken off while a checkpoint may be half written, which is then none: the result is the same.
TEST_F(ResumeTest, BitForBitWithCheckpointsInTheBackground) {
  const auto whole = train(*world_, "whole");
  auto options = tiny::options("f32");
  options.micro_batch = 2;
  options.checkpoint_background = true;
  for (const std::int64_t broken_after : {1, 2, 3, 9, 10, 11, 19, 20}) {
    const auto folder = shared_ / ("background" + std::to_string(broken_after));
    const auto kill = [&](const StepRecord& record) {
      if (record.global_step == broken_after) throw Killed();
    };
    EXPECT_THROW(tiny::train(options, *reader_, {*world_, *world_}, folder, 1, kill), Killed);
    world_->barrier();
    const auto resumed = tiny::train(options, *reader_, {*world_, *world_}, folder, 1);
    // One is complete when the next is begun.
    EXPECT_LE(resumed.losses.size(), static_cast<std::size_t>(20 - std::max<std::int64_t>(0, broken_after - 2)));
    for (std::size_t i = 0; i < whole.parameters.size(); ++i) {
      EXPECT_TRUE(at::equal(resumed.parameters[i].second, whole.parameters[i].second))
          << whole.parameters[i].first << ", broken after step " << broken_after;
    }
  }
}

TEST_F(ResumeTest, AFinishedRunDoesNothing) {
  const auto first = train(*world_, "finished");
  const auto second = train(*world_, "finished");
  EXPECT_EQ(second.losses.size(), 0u);
  EXPECT_LE(tiny::distance(second.parameters, first.parameters, tiny::options("f32")).first, 0);
}

TEST_F(ResumeTest, AnotherNumberOfRanksContinues) {
  if (world_->size() == 1) GTEST_SKIP() << "one rank has no other number";
  const auto whole = train(*world_, "whole64", "f64");
  const auto kill = [](const StepRecord& record) {
    if (record.global_step == 14) throw Killed();
  };
  EXPECT_THROW(train(*world_, "handed", "f64", kill), Killed);
  world_->barrier();
  // Rank 0 continues alone what all ranks began; the others wait.
  auto alone = world_->split(world_->rank() == 0 ? 0 : 1, 0);
  if (world_->rank() == 0) {
    const auto resumed = train(*alone, "handed", "f64");
    EXPECT_LT(resumed.losses.size(), 20u);
    const auto [distance, name] = tiny::distance(resumed.parameters, whole.parameters, tiny::options("f64"));
    EXPECT_LE(distance, 1e-10) << name;
  }
  world_->barrier();
}

}  // namespace
}  // namespace medfuse::train
