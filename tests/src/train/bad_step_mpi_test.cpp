// A step in which anything is not finite changes nothing that is trained, on any rank: with the stages that train, one spoilt
// weight after the other.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "tests/cluster/test_process.h"
#include "tests/src/train/test_mesh.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

class BadStepTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(cluster::test_process());
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
  }
  void TearDown() override { world_->barrier(); }

  /// The bytes of all that is trained and of the optimiser's state, as this rank has them.
  static std::vector<std::string> everything(const model::MedfuseModel& model, const Stage& stage, const Ranks& ranks) {
    std::vector<std::string> all;
    const auto add = [&](const at::Tensor& tensor) {
      const at::Tensor whole = tensor.detach().contiguous();
      all.emplace_back(static_cast<const char*>(whole.data_ptr()), whole.nbytes());
    };
    for (const auto& block : trainable_blocks(model, ranks.shards.get())) add(block.local);
    for (const auto& tensor : stage.state()) add(tensor.local);
    return all;
  }

  /// Three steps of a stage, the second of them with a NaN in the last of the weights whose names begin so, on all ranks or
  /// `here`; where ranks share that weight, in each one's part.
  template <class AnyStage>
  void expect_nothing_learned(const TrainOptions& o, Ranks ranks, const std::string& spoilt_prefix, bool here = true) {
    SCOPED_TRACE(spoilt_prefix);
    const auto tensor = ranks.tensor_host ? tensor_parallel(*ranks.tensor_host) : model::no_tensor_parallel();
    if (o.parallel.zero == 3) ranks.shards = make_shards(ranks);
    const auto model = tiny::make_model(o, reader_->info(), tensor, 2, weight_store(ranks));
    AnyStage stage(o, *model, *reader_, ranks);
    EXPECT_TRUE(std::isfinite(stage.step(0).gradient_norm));
    const auto parameters = model->trainable({spoilt_prefix});
    ASSERT_FALSE(parameters.empty());
    const at::Tensor last = parameters.back().second;
    const auto part = ranks.shards ? ranks.shards->part_of(last) : std::nullopt;
    // Of a part that holds nothing there is no first element.
    at::Tensor first = (part ? part->owned.value : last.detach()).reshape({-1}).slice(0, 0, 1);
    const at::Tensor kept = first.clone();
    if (here) first.fill_(std::numeric_limits<double>::quiet_NaN());
    const auto before = everything(*model, stage, ranks);
    const StepReport report = stage.step(1);
    EXPECT_FALSE(std::isfinite(report.gradient_norm)) << "rank " << world_->rank();
    EXPECT_TRUE(everything(*model, stage, ranks) == before) << "rank " << world_->rank();
    first.copy_(kept);
    if (part) ranks.shards->changed();
    const auto good = everything(*model, stage, ranks);
    EXPECT_TRUE(std::isfinite(stage.step(2).gradient_norm));
    EXPECT_FALSE(everything(*model, stage, ranks) == good) << "it learns again";
  }

  static TrainOptions options(std::int64_t zero = 0) {
    auto o = tiny::options("f64");
    o.encoders.lab_learning_rate = 5e-3;
    o.fusion_stage.estimator_steps = 2;
    o.parallel.zero = zero;
    return o;
  }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
};

TEST_F(BadStepTest, NeitherEncoderLearnsIfOneIsSpoilt) {
  for (const std::int64_t zero : {0, 1, 2, 3}) {
    for (const char* prefix : {"text.", "text_head.", "labs."}) {
      expect_nothing_learned<EncodersStage>(options(zero), {*world_, *world_}, prefix);
    }
  }
}

TEST_F(BadStepTest, NorDoTheRanksOfTheOther) {
  if (world_->size() < 2) GTEST_SKIP() << "needs ranks for either";
  for (const char* prefix : {"text_head.", "labs."}) {
    Mesh mesh(*world_, 1, 1);
    expect_nothing_learned<EncodersStage>(options(), mesh.ranks(), prefix);
  }
}

// A fault of one machine: the others, which hold the same model together with it, see nothing wrong in what they have whole.
TEST_F(BadStepTest, NorDoTheOthersOfATensorGroup) {
  if (world_->size() % 2 != 0) GTEST_SKIP() << "needs pairs";
  Mesh mesh(*world_, 2);
  const bool here = world_->rank() == world_->size() - 1;
  for (const char* prefix : {"text.", "text_head.", "labs."}) {
    expect_nothing_learned<EncodersStage>(options(), mesh.ranks(), prefix, here);
  }
  for (const char* prefix : {"text.", "labs.cls_token", "fusion.head", "estimator."}) {
    expect_nothing_learned<FusionStage>(options(), mesh.ranks(), prefix, here);
  }
}

TEST_F(BadStepTest, TheEstimatorLearnsWithTheRestOrNot) {
  for (const std::int64_t zero : {0, 1, 2, 3}) {
    for (const char* prefix : {"text.", "labs.cls_token", "fusion.head", "estimator."}) {
      expect_nothing_learned<FusionStage>(options(zero), {*world_, *world_}, prefix);
    }
  }
}

}  // namespace
}  // namespace medfuse::train
