// A wish to stop, of whichever rank, stops all ranks behind the same step, with a checkpoint; and the continued run equals
// an uninterrupted one bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

cluster::Process& process() {
  static cluster::Process instance;
  return instance;
}

/// Asks for a stop at the n-th question, and keeps a record of what it is told.
class Scripted : public StopRequests {
 public:
  explicit Scripted(int at) : at_(at) {}
  std::int64_t vote() override {
    told += "?";
    return ++questions == at_ ? 7 : 0;
  }
  std::string reason(std::int64_t agreed) const override { return "wish " + std::to_string(agreed); }
  void step_begins() override { told += "("; }
  void step_ended() override { told += ")"; }
  void will_save(std::int64_t bytes) override {
    told += "w";
    expected = bytes;
  }
  void save_begins() override { told += "b"; }
  void saved(double seconds, std::int64_t bytes) override {
    told += "s";
    EXPECT_GT(seconds, 0);
    // The last save of a stage leaves the optimiser's states out.
    EXPECT_LE(bytes, expected);
    if (bytes == expected) ++exact;
  }

  int questions = 0, exact = 0;
  std::int64_t expected = 0;
  std::string told;

 private:
  int at_;
};

constexpr int never = 0;

class StopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(process());
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process().broadcast(folder_.path().string());
  }
  void TearDown() override { process().barrier(); }

  tiny::Run train(const std::string& name, StopRequests* stop, std::int64_t every = 4, std::int64_t zero = 0) {
    auto options = tiny::options("f32");
    options.parallel.zero = zero;
    options.encoders.length.steps = options.fusion_stage.length.steps = 5;
    return tiny::train(options, *reader_, {*world_, *world_}, shared_ / name, every, {}, 2, stop);
  }

  tiny::TempFolder folder_;
  std::filesystem::path shared_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
};

TEST_F(StopTest, OneRanksWishStopsAllAndNothingIsLost) {
  const auto whole = train("whole", nullptr);
  EXPECT_EQ(whole.outcome, Outcome::finished);
  // Question 1 comes before the first step, 1 + n behind step n; 6 and 10 behind the first stage and in the second.
  for (const int question : {2, 6, 10}) {
    for (const int asking : std::set<int>{0, world_->size() - 1}) {
      const std::string name = "stop" + std::to_string(question) + "-" + std::to_string(asking);
      Scripted stop(world_->rank() == asking ? question : never);
      const auto first = train(name, &stop);
      EXPECT_EQ(first.outcome, Outcome::stopped);
      EXPECT_EQ(first.losses.size(), static_cast<std::size_t>(question - 1));
      EXPECT_EQ(stop.questions, question) << "one collective a step";
      if (world_->rank() == 0) {
        EXPECT_THAT(first.messages, Contains("stopped: wish 7"));
      }
      const auto second = train(name, nullptr);
      EXPECT_EQ(second.outcome, Outcome::finished);
      EXPECT_EQ(first.losses.size() + second.losses.size(), whole.losses.size()) << "no step twice";
      for (std::size_t i = 0; i < whole.parameters.size(); ++i) {
        EXPECT_TRUE(at::equal(second.parameters[i].second, whole.parameters[i].second)) << whole.parameters[i].first;
      }
    }
  }
}

TEST_F(StopTest, BeforeTheFirstStepNothingIsSaved) {
  Scripted stop(1);
  const auto run = train("early", &stop);
  EXPECT_EQ(run.outcome, Outcome::not_begun);
  EXPECT_TRUE(run.losses.empty());
  EXPECT_FALSE(std::filesystem::exists(shared_ / "early"));
  if (world_->rank() == 0) {
    EXPECT_THAT(run.messages, ElementsAre("stopped before the first step: wish 7"));
  }
}

TEST_F(StopTest, AFinishedRunIsNotStopped) {
  train("finished", nullptr);
  Scripted stop(1);
  EXPECT_EQ(train("finished", &stop).outcome, Outcome::finished);
  Scripted late(11);  // there is no question behind the last step
  EXPECT_EQ(train("late", &late).outcome, Outcome::finished);
  EXPECT_EQ(late.questions, 10) << late.told;
}

TEST_F(StopTest, StepsAndSavesAreTold) {
  for (const std::int64_t zero : {0, 1}) {  // with 1 no rank has all of the optimiser's states
    Scripted stop(never);
    train("told" + std::to_string(zero), &stop, 4, zero);
    // When a checkpoint is complete depends on the disk.
    EXPECT_EQ(std::count(stop.told.begin(), stop.told.end(), 's'), 4);
    std::string others = stop.told;
    std::erase(others, 's');
    EXPECT_EQ(others, "?w()?()?()?()?b()?bw()?()?()?()?b()b");
    EXPECT_EQ(stop.exact, 2) << "bytes of a save within a stage are known before";
  }
}

}  // namespace
}  // namespace medfuse::train
