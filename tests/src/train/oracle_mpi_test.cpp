// Guarantee 1: the result does not depend on the number of ranks or on how a batch is split. One rank with one
// micro-batch is the oracle; every parameter is compared after both stages, 20 steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/forgetful.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

cluster::Process& process() {
  static cluster::Process instance;
  return instance;
}

class OracleTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(process());
    world_->set_timeout(std::chrono::seconds(30));  // a rank that gave up shall not hold the others for long
    alone_ = world_->split(world_->rank(), 0);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
  }

  tiny::Run run(const TrainOptions& options, cluster::Communicator& host, cluster::Communicator& device) {
    // Rank 0's folder for all ranks: a checkpoint is one.
    const std::string shared = process().broadcast((folder_.path() / std::to_string(runs_++)).string());
    const bool single = host.size() == 1;
    return tiny::train(options, *reader_, {host, device}, single ? folder_.path() / "alone" / std::to_string(runs_) : std::filesystem::path(shared));
  }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  int runs_ = 0;
};

TEST_F(OracleTest, EveryParameterInDoublePrecision) {
  const auto options = tiny::options("f64");
  const auto oracle = run(options, *alone_, *alone_);
  EXPECT_GT(*std::max_element(oracle.information.begin(), oracle.information.end()), 0) << "no step has this loss";
  for (const std::int64_t micro_batch : {64, 2, 1}) {
    auto split = options;
    split.micro_batch = micro_batch;
    const auto parallel = run(split, *world_, *world_);
    const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, options);
    EXPECT_LE(distance, 1e-10) << name << ", micro-batch " << micro_batch;
    ASSERT_EQ(parallel.losses.size(), 20u);
    for (std::size_t i = 0; i < oracle.losses.size(); ++i) {
      EXPECT_NEAR(parallel.losses[i], oracle.losses[i], 1e-10 * std::max(1.0, std::abs(oracle.losses[i]))) << "step " << i;
    }
  }
}

/// Rates and weights of a real run: training at large ones amplifies rounding. So does Adam, whose first steps are as long
/// for a gradient of rounding noise as for a real one, until epsilon tells them apart: with 1e-5 rounding alone moved a
/// parameter by up to 2.9e-4 (one rank, float32 against float64), with 1e-3 by a tenth of that; a reduction left out
/// moves one by more than 1e-3 either way.
TrainOptions single_precision(std::uint64_t seed) {
  auto options = tiny::options("f32");
  options.seed = seed;
  options.micro_batch = 2;
  options.learning_rate = 1e-3;
  options.fusion_stage.estimator_learning_rate = 1e-3;
  options.fusion.mutual_information = model::FusionOptions().mutual_information;
  options.adam.epsilon = 1e-3;
  return options;
}

TEST_F(OracleTest, EveryParameterInSinglePrecision) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const auto options = single_precision(seed);
    auto undivided = options;
    undivided.micro_batch = 64;
    const auto oracle = run(undivided, *alone_, *alone_);
    const auto parallel = run(options, *world_, *world_);
    const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, options);
    EXPECT_LE(distance, 1e-4) << name << ", seed " << seed;
  }
}

TEST_F(OracleTest, SinglePrecisionShowsAForgottenReduction) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is reduced on one rank";
  const auto options = single_precision(1);
  const auto oracle = run(options, *alone_, *alone_);
  Forgetful counting(*world_, Forgetful::none);
  run(options, *world_, counting);
  // Gradients of both encoders in the first and a late step of theirs, and those of a fusion step.
  for (const std::int64_t forgotten : {std::int64_t{0}, std::int64_t{1}, std::int64_t{18}, std::int64_t{19},
                                       counting.reductions() - 1}) {
    Forgetful forgetful(*world_, forgotten);
    const auto wrong = run(options, *world_, forgetful);
    EXPECT_GT(tiny::distance(wrong.parameters, oracle.parameters, options).first, 1e-3) << forgotten;
  }
}

TEST_F(OracleTest, RanksWithoutASampleJoinIn) {
  auto options = tiny::options("f64");
  options.batch = 2;
  options.encoders.lab_batch = 3;
  options.fusion_stage.estimator_steps = 3;
  const auto oracle = run(options, *alone_, *alone_);
  const auto parallel = run(options, *world_, *world_);
  const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, options);
  EXPECT_LE(distance, 1e-10) << name;
}

// Kept states save work on texts that a rank has seen before, which are others on every number of ranks.
TEST_F(OracleTest, KeptStatesChangeNothing) {
  auto options = tiny::options("f64");
  options.text.lora.layers = "last:1";
  const auto oracle = run(options, *alone_, *alone_);
  options.text_cache_mib = 1;
  const auto parallel = run(options, *world_, *world_);
  const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, options);
  EXPECT_LE(distance, 1e-10) << name;
  EXPECT_GT(parallel.model->text->cached_bytes(), 0);
}

TEST_F(OracleTest, TrainingMovesEveryParameter) {
  const auto options = tiny::options("f64");
  const auto trained = run(options, *alone_, *alone_);
  const auto fresh = tiny::make_model(options, reader_->info())->trainable();
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    EXPECT_GT((trained.parameters[i].second - fresh[i].second).abs().max().item<double>(), 0) << fresh[i].first;
  }
}

TEST_F(OracleTest, OneForgottenReductionIsNoticed) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is reduced on one rank";
  const auto options = tiny::options("f64");
  const auto oracle = run(options, *alone_, *alone_);
  Forgetful counting(*world_, Forgetful::none);
  run(options, *world_, counting);
  ASSERT_GT(counting.reductions(), 30);
  // In the encoder stage (text, labs), and all seven of the last fusion step but one, whose estimate is positive: the
  // estimator's gradients, the moments and their gradients, all parameters in two buckets.
  const std::int64_t total = counting.reductions();
  ASSERT_GT(oracle.information[8], 0);
  for (const std::int64_t forgotten : {std::int64_t{2}, std::int64_t{3}, total - 14, total - 13, total - 12, total - 11,
                                       total - 10, total - 9, total - 8}) {
    Forgetful forgetful(*world_, forgotten);
    const auto wrong = run(options, *world_, forgetful);
    const auto distance = tiny::distance(wrong.parameters, oracle.parameters, options).first;
    EXPECT_GT(distance, 1e-7) << "reduction " << forgotten << " of " << total;
  }
}

// Each rank would take the means of the lab loss over the cells that it has itself.
TEST_F(OracleTest, AForgottenCountOfLabCellsIsNoticed) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is counted on one rank";
  const auto options = tiny::options("f64");
  const auto oracle = run(options, *alone_, *alone_);
  for (const std::int64_t forgotten : {0, 6}) {
    Forgetful forgetful(*world_, forgotten, 2);  // hidden and kept ones
    const auto wrong = run(options, forgetful, *world_);
    EXPECT_EQ(forgetful.reductions(), 10);
    EXPECT_GT(tiny::distance(wrong.parameters, oracle.parameters, options).first, 1e-7) << forgotten;
  }
}

// Each rank would follow the estimate or not as its own share of it says. Most shares have the sign of the whole, so a
// single step may hide it.
TEST_F(OracleTest, AForgottenSignOfTheInformationIsNoticed) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is summed on one rank";
  const auto options = tiny::options("f64");
  const auto oracle = run(options, *alone_, *alone_);
  Forgetful forgetful(*world_, Forgetful::every, 1);
  const auto wrong = run(options, forgetful, *world_);
  EXPECT_EQ(forgetful.reductions(), 10);
  EXPECT_GT(tiny::distance(wrong.parameters, oracle.parameters, options).first, 1e-7);
}

}  // namespace
}  // namespace medfuse::train
