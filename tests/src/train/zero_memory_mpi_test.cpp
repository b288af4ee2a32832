// What ranks share (parallel.zero) takes a rank its share of the memory: optimiser states, gradients between
// micro-batches, adapters and frozen weights.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>

#include "bench/tensor_meter.h"
#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "src/train/stage_parts.h"
#include "src/train/updater.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// Weights that are large beside the ends of buckets and units.
weights::LlamaConfig llama() {
  auto config = tiny::llama();
  config.vocab_size = 500;
  config.hidden_size = 96;
  config.intermediate_size = 256;
  config.num_hidden_layers = 4;
  config.head_dim = 8;
  return config;
}

class ZeroMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    bench::TensorMeter::instance();
    static cluster::Process process;
    world_ = cluster::make_mpi_communicator(process);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
  }

  static TrainOptions options(std::int64_t zero) {
    auto o = tiny::options("f32");
    o.parallel.zero = zero;
    o.parallel.bucket_mib = 0.02;
    return o;
  }
  Ranks ranks(std::int64_t zero) {
    Ranks all(*world_, *world_);
    if (zero == 3) all.shards = make_shards(all);
    return all;
  }
  std::unique_ptr<model::MedfuseModel> make_model(const TrainOptions& o, const Ranks& ranks) {
    const auto text = std::make_shared<model::TextEncoder>(o.text, llama(), model::compute_type(o.precision), o.seed,
                                                           model::no_tensor_parallel(), weight_store(ranks));
    return std::make_unique<model::MedfuseModel>(model_options(o, reader_->info()), text);
  }
  std::int64_t size() const { return world_->size(); }
  void tell(const char* what, std::int64_t own, std::int64_t whole) const {
    if (world_->rank() > 0) return;
    std::printf("%s on rank 0 of %d: %lld of %lld bytes\n", what, world_->size(), static_cast<long long>(own),
                static_cast<long long>(whole));
  }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
};

TEST_F(ZeroMemoryTest, OptimiserStates) {
  const auto bytes = [&](std::int64_t zero) {
    const auto o = options(zero);
    const auto model = make_model(o, ranks(zero));
    const FusionStage stage(o, *model, *reader_, ranks(zero));
    std::int64_t sum = 0;
    for (const auto& tensor : stage.state()) {
      if (!tensor.name.ends_with("steps")) sum += static_cast<std::int64_t>(tensor.local.nbytes());
    }
    return sum;
  };
  const std::int64_t whole = bytes(0), own = bytes(1);
  tell("optimiser states of the fusion stage", own, whole);
  // A share is rounded up to a whole element in each bucket, of which there are fewer than a hundred.
  EXPECT_LE(own, whole / size() + 100 * 2 * 4);
}

TEST_F(ZeroMemoryTest, GradientsBetweenMicroBatches) {
  std::int64_t parameters = 0;
  const auto bytes = [&](std::int64_t zero) {
    const auto o = options(zero);
    const auto model = make_model(o, ranks(zero));
    const auto trained = group(*model, {"text.", "text_head."}, 0);
    parameters = std::ssize(trained.parameters);
    Updater updater("text", {trained}, o.adam, schedule(o, o.learning_rate, 10), o.clip, o.parallel, ranks(zero));
    const at::Tensor tokens_BL = torch::randint(0, llama().vocab_size, {3, 12}, torch::kInt64);
    const at::Tensor lengths_B = torch::tensor({12, 5, 9}, torch::kInt64);
    const ops::DropoutKeys keys{torch::tensor({1, 2, 3}, torch::kInt64)};
    model->embed(tokens_BL, lengths_B);  // the angles of the positions are computed at the first use, and stay
    const std::int64_t before = bench::TensorMeter::instance().now();
    for (int pass = 0; pass < 2; ++pass) {
      updater.prepare(false);
      model->text_head->forward(model->embed(tokens_BL, lengths_B, keys)).sum().backward();
    }
    updater.prepare(true);  // the sums of the passes before are complete with it
    world_->barrier();      // and what the last of them took is given back
    const std::int64_t held = bench::TensorMeter::instance().now() - before;
    updater.reduce();
    updater.drop();
    return held;
  };
  const std::int64_t whole = bytes(1), own = bytes(2);
  tell("gradients between micro-batches", own, whole);
  EXPECT_LE(own, whole / size() + 4 * parameters);
  EXPECT_GE(own * size(), whole);
}

TEST_F(ZeroMemoryTest, Adapters) {
  const Ranks all = ranks(3);
  const auto model = make_model(options(3), all);
  std::int64_t whole = 0, own = 0;
  std::size_t factors = 0;
  for (const NamedTensor& parameter : trainable_parts(*model, {"text."})) {
    whole += parameter.tensor.numel();
    ++factors;
  }
  for (const auto& block : trainable_blocks(*model, all.shards.get())) {
    if (block.name.starts_with("text.")) own += block.local.numel();
  }
  // Each factor begins at a multiple of 64 elements.
  EXPECT_LE(own, (whole + 64 * static_cast<std::int64_t>(factors)) / size());
  EXPECT_EQ(sum_over_ranks(*world_, {static_cast<double>(own)})[0], static_cast<double>(whole));
}

TEST_F(ZeroMemoryTest, FrozenWeights) {
  if (size() == 1) GTEST_SKIP() << "nothing is shared on one rank";
  auto& meter = bench::TensorMeter::instance();
  const std::int64_t before = meter.now();
  std::map<std::string, std::int64_t> units;
  std::int64_t all = 0, whole = 0, tensors = 0;
  {
    const auto model = make_model(options(0), ranks(0));
    whole = meter.now() - before;
    const auto add = [&](const std::string& name, const at::Tensor& tensor) {
      if (name == "model.norm.weight") return;  // whole on every rank
      const auto bytes = static_cast<std::int64_t>(tensor.nbytes());
      units[name.substr(0, std::string("model.layers.0").size())] += bytes;
      all += bytes;
      ++tensors;
    };
    for (const auto& item : model->text->named_buffers()) add(item.key(), item.value());
    for (const auto& item : model->text->named_parameters()) add(item.key(), item.value());
  }
  ASSERT_EQ(meter.now(), before);
  ASSERT_EQ(std::ssize(units), 1 + llama().num_hidden_layers);
  std::int64_t largest = 0;
  for (const auto& [name, bytes] : units) largest = std::max(largest, bytes);

  const Ranks sharing = ranks(3);
  const auto model = make_model(options(3), sharing);
  const std::int64_t rest = whole - all, padding = 64 * 4 * tensors, share = (all + padding) / size();
  const std::int64_t between = meter.now() - before - rest;
  meter.restart();
  model->text->idle_forward();
  model->text->idle_backward();
  const std::int64_t most = meter.peak() - before - rest;
  tell("text encoder between passes", between, all);
  tell("text encoder in passes", most, all);
  EXPECT_LE(between, share + largest + padding);  // memory for the next unit is kept
  EXPECT_GE(between, all / size() + largest);
  EXPECT_LE(most, share + 2 * largest + padding);
  EXPECT_GE(most, all / size() + 2 * largest) << "the next unit was not on its way";
}

}  // namespace
}  // namespace medfuse::train
