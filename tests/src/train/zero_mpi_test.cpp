// What ranks share instead of keeping it each (parallel.zero): training is that of one rank, checkpoints go over to another number of
// ranks and to unsharded states and back.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "cluster/mesh.h"
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

class ZeroTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(process());
    world_->set_timeout(std::chrono::seconds(30));  // a rank that gave up shall not hold the others for long
    alone_ = world_->split(world_->rank(), 0);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process().broadcast(folder_.path().string());
  }
  void TearDown() override { process().barrier(); }

  /// Small buckets, so that each stage has many and parameters are cut anywhere.
  static TrainOptions options(std::int64_t zero) {
    auto o = tiny::options("f64");
    o.parallel.zero = zero;
    o.parallel.bucket_mib = 0.005;
    return o;
  }

  /// Ranks that train together share a folder for checkpoints; a rank alone has its own.
  tiny::Run run(const TrainOptions& options, cluster::Communicator& host, cluster::Communicator& device) {
    const std::string name = "run" + std::to_string(runs_++);
    return tiny::train(options, *reader_, {host, device}, (host.size() == 1 ? folder_.path() : shared_) / name);
  }

  tiny::TempFolder folder_;
  std::filesystem::path shared_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  int runs_ = 0;
};

TEST_F(ZeroTest, EveryParameterAsOnOneRank) {
  auto whole = options(0);
  whole.parallel = {};
  const auto oracle = run(whole, *alone_, *alone_);
  for (const std::int64_t zero : {0, 1, 2, 3}) {
    for (const std::int64_t micro_batch : {64, 2, 1}) {
      auto split = options(zero);
      split.micro_batch = micro_batch;
      split.recompute = micro_batch == 2 ? "full" : "none";
      const auto parallel = run(split, *world_, *world_);
      const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, split);
      EXPECT_LE(distance, 1e-10) << name << ", zero " << zero << ", micro-batch " << micro_batch;
      ASSERT_EQ(parallel.losses.size(), 20u);
      for (std::size_t i = 0; i < oracle.losses.size(); ++i) {
        EXPECT_NEAR(parallel.losses[i], oracle.losses[i], 1e-10 * std::max(1.0, std::abs(oracle.losses[i])));
      }
    }
  }
}

TEST_F(ZeroTest, RanksWithoutASampleJoinIn) {
  for (const std::int64_t zero : {1, 2, 3}) {
    for (const std::int64_t batch : {2, 5}) {  // of 5, some ranks have one micro-batch and others two
      auto o = options(zero);
      o.batch = batch;
      o.micro_batch = 1;
      o.encoders.lab_batch = 3;
      o.fusion_stage.estimator_steps = 3;
      const auto oracle = run(o, *alone_, *alone_);
      const auto parallel = run(o, *world_, *world_);
      const auto [distance, name] = tiny::distance(parallel.parameters, oracle.parameters, o);
      EXPECT_LE(distance, 1e-10) << name << ", zero " << zero << ", batch " << batch;
    }
  }
}

// Nothing of the text encoder is trained in the fusion stage: then no gradient comes back to its weights.
TEST_F(ZeroTest, FrozenEncodersAreGatheredOnTheWayForthOnly) {
  auto o = options(3);
  o.fusion_stage.encoder_factor = 0;
  o.micro_batch = 2;
  const auto oracle = run(o, *alone_, *alone_);
  const auto parallel = run(o, *world_, *world_);
  EXPECT_LE(tiny::distance(parallel.parameters, oracle.parameters, o).first, 1e-10);
}

// Only the norm is summed in another order; without clipping the two ways are the same to the bit.
TEST_F(ZeroTest, ShardsChangeNoBitWithoutClipping) {
  auto whole = options(0), sharded = options(1);
  whole.clip = sharded.clip = 0;
  const auto a = run(whole, *world_, *world_), b = run(sharded, *world_, *world_);
  for (std::size_t i = 0; i < a.parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(a.parameters[i].second, b.parameters[i].second)) << a.parameters[i].first;
  }
}

// Training in double precision sees no rounding but that of the wire.
TEST_F(ZeroTest, GradientsTravelInTheTypeThatWasAskedFor) {
  if (world_->size() == 1) GTEST_SKIP() << "no gradient travels on one rank";
  auto o = options(0);
  o.learning_rate = 1e-3;  // and epsilon, for the reasons in oracle_mpi_test.cpp
  o.fusion_stage.estimator_learning_rate = 1e-3;
  o.fusion.mutual_information = model::FusionOptions().mutual_information;
  o.adam.epsilon = 1e-3;
  const auto oracle = run(o, *alone_, *alone_);
  o.micro_batch = 2;
  struct Wire {
    const char* type;
    double least, most;  // what it must and may change
  };
  for (const Wire& wire : {Wire{"f64", 0, 1e-10}, Wire{"f32", 1e-9, 1e-4}, Wire{"bf16", 1e-4, 1e-1}}) {
    o.parallel.reduce_dtype = wire.type;
    for (const std::int64_t zero : {0, 1, 2, 3}) {
      o.parallel.zero = zero;
      const auto [distance, name] = tiny::distance(run(o, *world_, *world_).parameters, oracle.parameters, o);
      EXPECT_LE(distance, wire.most) << name << ", " << wire.type << ", zero " << zero;
      EXPECT_GT(distance, wire.least) << wire.type << " was not used, zero " << zero;
    }
  }
}

TEST_F(ZeroTest, CheckpointsGoOverToOtherShards) {
  const auto kill_at = [](std::int64_t step) {
    return [step](const StepRecord& record) {
      if (record.global_step == step) throw Killed();
    };
  };
  const auto whole = tiny::train(options(1), *reader_, {*world_, *world_}, shared_ / "whole", 3);
  const auto whole3 = tiny::train(options(3), *reader_, {*world_, *world_}, shared_ / "whole3", 3);
  for (const std::int64_t step : {5, 14}) {
    for (const auto& [zero, then] :
         {std::pair(0, 1), std::pair(1, 0), std::pair(1, 1), std::pair(1, 3), std::pair(3, 0), std::pair(3, 3)}) {
      const auto folder = shared_ / fmt::format("at{}from{}to{}", step, zero, then);
      EXPECT_THROW(tiny::train(options(zero), *reader_, {*world_, *world_}, folder, 3, kill_at(step)), Killed);
      world_->barrier();
      const auto resumed = tiny::train(options(then), *reader_, {*world_, *world_}, folder, 3);
      EXPECT_LT(resumed.losses.size(), 20u) << "it began afresh";
      const auto& uninterrupted = then == 3 ? whole3 : whole;
      const auto [distance, name] = tiny::distance(resumed.parameters, uninterrupted.parameters, options(then));
      EXPECT_LE(distance, zero == then ? 0 : 1e-10) << name << ", " << zero << " to " << then;  // 0: the same bits
    }
  }
  if (world_->size() == 1) return;
  // A smaller group goes on with what all ranks began, with its own shards.
  EXPECT_THROW(tiny::train(options(1), *reader_, {*world_, *world_}, shared_ / "handed", 3, kill_at(14)), Killed);
  world_->barrier();
  const bool last = world_->rank() + 1 == world_->size();
  const auto group = world_->split(last ? 1 : 0, 0);
  if (!last) {
    const auto resumed = tiny::train(options(1), *reader_, {*group, *group}, shared_ / "handed", 3);
    EXPECT_LT(resumed.losses.size(), 20u);
    EXPECT_LE(tiny::distance(resumed.parameters, whole.parameters, options(0)).first, 1e-10);
  }
  world_->barrier();
  // And the whole world with what the smaller group began.
  if (!last) {
    EXPECT_THROW(tiny::train(options(1), *reader_, {*group, *group}, shared_ / "back", 3, kill_at(14)), Killed);
  }
  world_->barrier();
  const auto resumed = tiny::train(options(1), *reader_, {*world_, *world_}, shared_ / "back", 3);
  EXPECT_LT(resumed.losses.size(), 20u);
  EXPECT_LE(tiny::distance(resumed.parameters, whole.parameters, options(0)).first, 1e-10);
}

// Two ranks hold the text encoder together, and two such pairs share the states of its parts.
TEST_F(ZeroTest, PartsOfTensorParallelismAreSharedToo) {
  if (world_->size() != 4) GTEST_SKIP() << "needs 2 x 2 ranks";
  const auto oracle = run(options(0), *alone_, *alone_);
  const auto layout = cluster::lay_out_mesh(std::vector<std::string>(4, "here"), {.tensor = 2});
  const cluster::MeshGroups groups(*world_, layout);
  const Ranks ranks(groups.data(), groups.data(), groups.world(), groups.tensor(), groups.tensor());
  const auto parallel = tiny::train(options(1), *reader_, ranks, shared_ / "mesh");
  EXPECT_LE(tiny::distance(tiny::whole(parallel, ranks), oracle.parameters, options(0)).first, 1e-10);
  // Broken off, and continued by four ranks side by side that keep everything.
  EXPECT_THROW(tiny::train(options(1), *reader_, ranks, shared_ / "flattened", 3,
                           [](const StepRecord& record) {
                             if (record.global_step == 14) throw Killed();
                           }),
               Killed);
  world_->barrier();
  const auto resumed = tiny::train(options(0), *reader_, {*world_, *world_}, shared_ / "flattened", 3);
  EXPECT_LT(resumed.losses.size(), 20u);
  EXPECT_LE(tiny::distance(resumed.parameters, oracle.parameters, options(0)).first, 1e-10);
}

}  // namespace
}  // namespace medfuse::train
