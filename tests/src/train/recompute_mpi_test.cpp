// Recomputation changes no bit of a training run: ten steps of both stages on some number of ranks, with dropout and
// several micro-batches in a step.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <set>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

cluster::Process& process() {
  static cluster::Process instance;
  return instance;
}

/// Steps of the graph behind `result` that run a block again.
std::size_t recomputed_blocks(const at::Tensor& result) {
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open = {result.grad_fn().get()};
  std::size_t count = 0;
  while (!open.empty()) {
    torch::autograd::Node* const node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    count += node->name().find("Recomputed") != std::string::npos;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return count;
}

class RecomputeTest : public testing::Test {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(process());
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process().broadcast(folder_.path().string());
  }
  void TearDown() override { process().barrier(); }

  tiny::Run run(TrainOptions options, const std::string& recompute) {
    options.recompute = recompute;
    options.micro_batch = 1;
    options.encoders.length.steps = 5;
    options.fusion_stage.length.steps = 5;
    return tiny::train(options, *reader_, {*world_, *world_}, shared_ / std::to_string(runs_++));
  }

  void expect_no_difference(const TrainOptions& options) {
    const auto expected = run(options, "none");
    ASSERT_EQ(expected.losses.size(), 10u);
    expect_recomputed(*expected.model, 0, 0);
    for (const char* recompute : {"attention", "full"}) {
      const auto actual = run(options, recompute);
      expect_recomputed(*actual.model, options.text.lora.layers == "all" ? 2 : 1, 3);
      EXPECT_EQ(actual.losses, expected.losses) << recompute;
      ASSERT_EQ(actual.parameters.size(), expected.parameters.size());
      for (std::size_t i = 0; i < expected.parameters.size(); ++i) {
        EXPECT_TRUE(actual.parameters[i].second.equal(expected.parameters[i].second))
            << recompute << ": " << expected.parameters[i].first;
      }
    }
  }

  /// The option has reached so many blocks of each encoder.
  static void expect_recomputed(model::MedfuseModel& model, std::size_t text, std::size_t labs) {
    const at::Tensor tokens_BL = at::ones({1, 3}, at::kLong);
    EXPECT_EQ(recomputed_blocks(model.embed(tokens_BL, at::full({1}, 3, at::kLong))), text);
    const at::Tensor labs_BC = at::ones({1, tiny::lab_columns});
    EXPECT_EQ(recomputed_blocks(model.labs->forward(labs_BC, labs_BC > 0)), labs);
  }

  tiny::TempFolder folder_;
  std::filesystem::path shared_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
  int runs_ = 0;
};

TEST_F(RecomputeTest, NoBitOfAParameterInSinglePrecision) { expect_no_difference(tiny::options("f32")); }

TEST_F(RecomputeTest, NoBitOfAParameterInDoublePrecision) { expect_no_difference(tiny::options("f64")); }

TEST_F(RecomputeTest, NoBitOfAParameterInBfloat16) { expect_no_difference(tiny::options("bf16")); }

TEST_F(RecomputeTest, NoBitOfAParameterWithKeptStates) {
  auto options = tiny::options("f32");
  options.text.lora.layers = "last:1";
  options.text_cache_mib = 1;
  expect_no_difference(options);
}

}  // namespace
}  // namespace medfuse::train
