// What a slow network costs a whole training step of the text encoder: with zero 0, 1 and 3 more than half of it is hidden
// behind the passes. How much a step grows is what it waits for the network: two steps' times would also tell what else the
// cores had to do.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "cluster/mpi_communicator.h"
#include "src/model/text_encoder.h"
#include "src/parallel/weight_shards.h"
#include "src/train/stage_parts.h"
#include "src/train/updater.h"
#include "tests/cluster/delayed_communicator.h"
#include "tests/cluster/test_process.h"

namespace medfuse::train {
namespace {

using cluster::test_process;
using Seconds = double;  // plain numbers, since ranks compare them

constexpr std::int64_t diseases = 10;
constexpr auto delay = std::chrono::milliseconds(50);  // of each collective, one after the other

/// Adapters of 4 MB, in six blocks. The default size of a bucket would hold them all.
weights::LlamaConfig llama() {
  weights::LlamaConfig config;
  config.vocab_size = 256;
  config.hidden_size = 512;
  config.intermediate_size = 1536;
  config.num_hidden_layers = 6;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 8;
  config.head_dim = 64;
  config.max_position_embeddings = 64;
  return config;
}

struct Case {
  std::int64_t zero;
  bool weights = false;  ///< zero 3: whether the gatherings of weights are on the slow network, too
};

class Training {
 public:
  /// Everything of the device is sent over `network`, with the exception that `given` makes.
  Training(const Case& given, std::int64_t texts, cluster::Communicator& world, cluster::Communicator& network)
      : ranks_(world, network),
        tokens_BL_(at::randint(llama().vocab_size, {texts, 64}, at::kLong)),
        lengths_B_(at::full({texts}, 64, at::kLong)),
        labels_BK_(at::randint(2, {texts, diseases}, at::kFloat)),
        keys_B_(at::randint(1 << 30, {texts}, at::kLong)) {
    if (given.zero == 3) ranks_.shards = make_shards({world, given.weights ? network : world});
    text_ = std::make_shared<model::TextEncoder>(options_.text, llama(), at::kFloat, 1, model::no_tensor_parallel(),
                                                 weight_store(ranks_));
    options_.parallel.zero = given.zero;
    ParameterGroup group;
    for (const auto& item : text_->named_parameters()) group.parameters.push_back({item.key(), item.value(), {}});
    for (const auto& item : head_->named_parameters()) group.parameters.push_back({"head." + item.key(), item.value(), {}});
    updater_ = std::make_unique<Updater>("text", std::vector{std::move(group)}, options_.adam,
                                         schedule(options_, options_.learning_rate, 1000), options_.clip,
                                         options_.parallel, ranks_);
  }

  /// `early`: gradients may be sent while the backward pass goes on.
  void step(bool early = true) {
    const at::Tensor embedding_BD = text_->embed(tokens_BL_, lengths_B_, {keys_B_});
    const at::Tensor loss = label_loss_sum(head_->forward(embedding_BD), labels_BK_) /
                            static_cast<double>(labels_BK_.numel() * ranks_.size());
    if (early) updater_->prepare(/*last=*/true);
    loss.backward();
    updater_->reduce();
    updater_->apply(steps_++);
  }

 private:
  TrainOptions options_;
  Ranks ranks_;
  std::shared_ptr<model::TextEncoder> text_;
  torch::nn::Linear head_{llama().hidden_size, diseases};
  at::Tensor tokens_BL_, lengths_B_, labels_BK_, keys_B_;
  std::unique_ptr<Updater> updater_;
  std::int64_t steps_ = 0;
};

Seconds seconds(std::chrono::duration<Seconds> duration) { return duration.count(); }

Seconds of_slowest(Seconds seconds) { return test_process().all_reduce(seconds, cluster::Combine::max); }

template <class F>
Seconds timed(const F& f) {
  test_process().barrier();
  const auto start = std::chrono::steady_clock::now();
  f();
  return of_slowest(seconds(std::chrono::steady_clock::now() - start));
}

/// How many texts make a step of two seconds: its passes then take longer than all that is sent meanwhile. Not too few, lest
/// they were counted while the cores had other work, which may end.
std::int64_t enough_texts(cluster::Communicator& communicator) {
  constexpr std::int64_t few = 4;
  Training training({0}, few, communicator, communicator);
  training.step();
  const Seconds time = std::min(timed([&] { training.step(); }), timed([&] { training.step(); }));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(2 / time * few), 12, 256);
}

class StepOverlapTest : public testing::TestWithParam<Case> {};

// What cannot be hidden, at 50 ms each: the bucket that is complete last; with zero 1 to 3 the norm, which the update waits
// for, and the parameters, which come of the update (in one message); of weights the first unit of a step and both parts of
// the second. All of it counts here, on either side.
TEST_P(StepOverlapTest, HidesMoreThanHalfOfASlowNetwork) {
  const auto communicator = cluster::make_mpi_communicator(test_process());
  cluster::DelayedCommunicator network(*communicator, delay);
  Training training(GetParam(), enough_texts(*communicator), *communicator, network);
  Seconds summed = 0, growth = 0;
  const auto measure = [&](bool early) {
    const auto delays = network.summed_delay();
    const auto held_up = network.held_up();
    test_process().barrier();
    training.step(early);
    summed = seconds(network.summed_delay() - delays);
    growth = of_slowest(seconds(network.held_up() - held_up));
    return fmt::format("zero {}{}: a step grew by {:.0f} of {:.0f} ms", GetParam().zero,
                       GetParam().weights ? " with its weights" : "", growth * 1e3, summed * 1e3);
  };
  training.step();
  std::string told;
  for (int tries = 0; tries < 4; ++tries) {
    told = measure(/*early=*/true);
    if (growth < summed / 2) break;
  }
  EXPECT_GE(summed, 8 * seconds(delay)) << told << ": too few collectives to tell";
  EXPECT_LT(growth, summed / 2) << told;
  EXPECT_GE(growth, 0.9 * seconds(delay)) << told << ": were there delays at all?";
  RecordProperty("step", told);
  if (GetParam().weights) return;
  // Without prepare() nothing is sent early.
  told = measure(/*early=*/false);
  EXPECT_GT(growth, summed / 2) << told << " with all gradients sent behind the pass: the measure tells nothing";
}

INSTANTIATE_TEST_SUITE_P(Zero, StepOverlapTest, testing::Values(Case{0}, Case{1}, Case{3}, Case{3, true}),
                         [](const auto& given) {
                           return std::to_string(given.param.zero) + (given.param.weights ? "_and_weights" : "");
                         });

}  // namespace
}  // namespace medfuse::train
