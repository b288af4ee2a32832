// The text encoder split over all ranks against the whole one: results, every gradient, and what is left of the weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "cluster/mpi_communicator.h"
#include "src/model/lora.h"
#include "src/model/text_encoder.h"
#include "src/train/ranks.h"
#include "tests/cluster/test_process.h"

namespace medfuse::model {
namespace {

using testing::HasSubstr;

/// Twelve heads, which every degree here divides; 2 or 3 key/value heads, so that some are split and some are shared.
weights::LlamaConfig tiny_config(int degree) {
  weights::LlamaConfig config;
  config.vocab_size = 40;
  config.hidden_size = 24;
  config.intermediate_size = 48;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 12;
  config.num_key_value_heads = degree % 3 == 0 ? 3 : 2;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  return config;
}

TextOptions adapted(double dropout) {
  TextOptions options;
  options.lora.rank = 4;
  options.lora.alpha = 8;
  options.lora.dropout = dropout;
  return options;
}

/// The part of a whole tensor that this rank holds.
at::Tensor part(const at::Tensor& whole, const std::map<std::string, ParameterPart>& parts, const std::string& name) {
  const auto found = parts.find(name);
  if (found == parts.end()) return whole;
  return whole.narrow(found->second.dim, found->second.span.begin, found->second.span.length);
}

double worst(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

/// With and without sequence parallelism.
class TensorParallelTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    world_ = cluster::make_mpi_communicator(cluster::test_process());
    ranks_ = train::tensor_parallel(*world_, GetParam());
    config_ = tiny_config(world_->size());
    torch::manual_seed(11);
    tokens_BL_ = torch::randint(0, 40, {5, 9}, torch::kInt64);
    lengths_B_ = torch::tensor({9, 1, 4, 7, 9}, torch::kInt64);
    weights_BD_ = torch::randn({5, 24}, torch::kFloat64);
    std::vector<std::int64_t> keys;
    for (std::uint64_t i = 0; i < 5; ++i) keys.push_back(static_cast<std::int64_t>(key({4, i})));
    keys_ = {torch::tensor(keys), {}};
  }

  std::shared_ptr<TextEncoder> encoder(const TensorParallelPtr& ranks, double dropout, at::ScalarType type) {
    auto made = std::make_shared<TextEncoder>(adapted(dropout), config_, type, 3, ranks);
    const torch::NoGradGuard no_grad;
    const auto parts = split_parameters(*made);
    // B starts at zero, where A has no gradient: give every whole B values, and each rank its part.
    for (const auto& item : made->named_parameters()) {
      if (item.key().find("lora_B") == std::string::npos) continue;
      const auto found = parts.find(item.key());
      auto shape = item.value().sizes().vec();
      if (found != parts.end()) shape[0] = found->second.span.global;
      torch::manual_seed(static_cast<std::int64_t>(std::hash<std::string>()(item.key()) % 100000));
      item.value().copy_(part(0.3 * torch::randn(shape, torch::kFloat64), parts, item.key()));
    }
    return made;
  }

  at::Tensor backward(TextEncoder& encoder) {
    const at::Tensor embedding_BD = encoder.embed(tokens_BL_, lengths_B_, keys_);
    (embedding_BD * weights_BD_.to(embedding_BD.scalar_type())).sum().backward();
    return embedding_BD.detach();
  }

  std::unique_ptr<cluster::Communicator> world_;
  TensorParallelPtr ranks_;
  weights::LlamaConfig config_;
  at::Tensor tokens_BL_, lengths_B_, weights_BD_;
  ops::DropoutKeys keys_;
};

TEST_P(TensorParallelTest, EqualsTheWholeModel) {
  for (const double dropout : {0.0, 0.3}) {
    const auto whole = encoder(no_tensor_parallel(), dropout, at::kDouble);
    const auto split = encoder(ranks_, dropout, at::kDouble);
    EXPECT_LT(worst(backward(*split), backward(*whole)), 1e-12);
    EXPECT_LT(worst(split->hidden(tokens_BL_, keys_), whole->hidden(tokens_BL_, keys_)), 1e-12);
    const auto parts = split_parameters(*split);
    const auto expected = whole->named_parameters();
    ASSERT_EQ(split->named_parameters().size(), expected.size());
    for (const auto& item : split->named_parameters()) {
      const at::Tensor gradient = part(expected[item.key()].grad(), parts, item.key());
      ASSERT_GT(gradient.abs().max().item<double>(), 0) << item.key();
      EXPECT_LT(worst(item.value().grad(), gradient), 1e-11) << item.key() << ", dropout " << dropout;
    }
  }
}

// The optimiser runs on every copy: only the same bits keep copies together for thousands of steps.
TEST_P(TensorParallelTest, CopiesHaveTheSameBits) {
  const auto split = encoder(ranks_, 0.3, at::kFloat);
  backward(*split);
  const auto parts = split_parameters(*split);
  for (const auto& item : split->named_parameters()) {
    if (parts.contains(item.key()) && parts.at(item.key()).copies == 1) continue;
    const at::Tensor mine = item.value().grad().contiguous();
    const at::Tensor all = torch::empty({world_->size(), mine.size(0), mine.size(1)}, mine.options());
    world_->all_gather(all, mine)->wait();
    const int copies = parts.contains(item.key()) ? parts.at(item.key()).copies : world_->size();
    const int first = world_->rank() / copies * copies;
    for (int rank = first; rank < first + copies; ++rank) EXPECT_TRUE(at::equal(all[rank], mine)) << item.key();
  }
}

TEST_P(TensorParallelTest, HoldsItsShareOfTheWeights) {
  const auto bytes = [](const TextEncoder& encoder, const std::string& what) {
    std::int64_t sum = 0;
    for (const auto& item : encoder.named_buffers()) {
      if (item.key().find(what) != std::string::npos) sum += static_cast<std::int64_t>(item.value().nbytes());
    }
    return sum;
  };
  const auto whole = encoder(no_tensor_parallel(), 0, at::kFloat);
  const auto split = encoder(ranks_, 0, at::kFloat);
  for (const char* what : {"q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}) {
    EXPECT_EQ(bytes(*split, what) * world_->size(), bytes(*whole, what)) << what;
  }
  for (const char* what : {"k_proj", "v_proj"}) {
    const auto sharing = std::min<std::int64_t>(world_->size(), config_.num_key_value_heads);
    EXPECT_EQ(bytes(*split, what) * sharing, bytes(*whole, what)) << what;
  }
  for (const auto& item : split->named_buffers()) EXPECT_TRUE(item.value().is_contiguous()) << item.key();
}

// A sum or gathering left out must show: otherwise the comparison above would prove nothing.
TEST_P(TensorParallelTest, EveryForgottenSumIsNoticed) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is summed on one rank";
  const auto whole = encoder(no_tensor_parallel(), 0.3, at::kDouble);
  backward(*whole);
  const auto expected = whole->named_parameters();
  int sums = 0, forgotten = -1;
  TensorParallel forgetful = *ranks_;
  forgetful.sum = [&](const at::Tensor& x) {
    if (sums++ != forgotten) ranks_->sum(x);
  };
  forgetful.gather = [&](const at::Tensor& x) {
    return sums++ != forgotten ? ranks_->gather(x) : x.repeat({world_->size(), 1});
  };
  forgetful.sum_scatter = [&](const at::Tensor& x) {
    return sums++ != forgotten ? ranks_->sum_scatter(x) : x.chunk(world_->size())[world_->rank()].clone();
  };
  const auto shared = std::make_shared<const TensorParallel>(forgetful);
  const auto run = [&] {
    const auto split = encoder(shared, 0.3, at::kDouble);
    sums = 0;
    backward(*split);
    const auto parts = split_parameters(*split);
    double difference = 0;
    for (const auto& item : split->named_parameters()) {
      difference = std::max(difference, worst(item.value().grad(), part(expected[item.key()].grad(), parts, item.key())));
    }
    const at::Tensor largest = torch::tensor({difference}, torch::kFloat64);
    world_->all_reduce(largest, cluster::Reduction::max)->wait();
    return largest.item<double>();
  };
  EXPECT_LT(run(), 1e-11);
  const int total = sums;
  ASSERT_GE(total, 3 * 6);
  for (forgotten = 0; forgotten < total; ++forgotten) EXPECT_GT(run(), 1e-8) << "sum " << forgotten << " of " << total;
}

// The real weights, each rank reading its slices of the file: nine heads in three parts, one key/value head each.
TEST_P(TensorParallelTest, SmolLM2InThreePartsEqualsTheWhole) {
  if (world_->size() != 3) GTEST_SKIP() << "needs three ranks";
  const char* const given = std::getenv("MEDFUSE_SMOLLM2");
  TextOptions options = adapted(0.1);
  options.model = given != nullptr ? given : ".deps/weights/smollm2-135m";
  if (!std::filesystem::exists(std::filesystem::path(options.model) / "config.json")) {
    GTEST_SKIP() << "no SmolLM2-135M in " << options.model << ": set MEDFUSE_SMOLLM2 to its Hugging Face folder";
  }
  const auto whole = TextEncoder::load(options, at::kFloat, 1), split = TextEncoder::load(options, at::kFloat, 1, ranks_);
  weights_BD_ = torch::randn({5, whole->width()}, torch::kFloat64);
  const at::Tensor expected = backward(*whole);
  EXPECT_LT(worst(backward(*split), expected), 1e-4 * expected.abs().max().item<double>());
  const auto parts = split_parameters(*split);
  const auto gradients = whole->named_parameters();
  for (const auto& item : split->named_parameters()) {
    // B is zero at the start, and A without a gradient.
    if (item.key().find("lora_B") == std::string::npos) continue;
    const at::Tensor gradient = gradients[item.key()].grad();
    EXPECT_LT(worst(item.value().grad(), part(gradient, parts, item.key())), 1e-3 * gradient.abs().max().item<double>())
        << item.key();
  }
}

// Between the projections a rank has its share of the tokens: what blocks keep there shrinks with the ranks.
TEST_P(TensorParallelTest, SharesTheRowsEvenly) {
  const at::Tensor all = torch::arange(7 * 3, torch::kFloat64).view({7, 3});
  const RowShare share(ranks_, 7);
  ASSERT_EQ(share.split(), GetParam() && world_->size() > 1);
  if (!share.split()) {
    EXPECT_TRUE(at::equal(share.own(all), all));
    return;
  }
  const std::int64_t each = (7 + world_->size() - 1) / world_->size();
  EXPECT_EQ(share.own(all).size(0), each);
  EXPECT_TRUE(at::equal(share.all(share.own(all)), all));
  EXPECT_TRUE(at::equal(share.all(share.sum(all)), all * world_->size()));
  const at::Tensor own = share.own(all).requires_grad_();
  (share.joined(own) * all).sum().backward();
  EXPECT_TRUE(at::equal(own.grad(), share.own(all)));
}

TEST_P(TensorParallelTest, RefusesDegreesThatDoNotSplitTheModel) {
  try {
    check_tensor_degree(2, 9, 3, 1536);
    FAIL() << "9 heads on 2 ranks";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("2 does not split the 9 heads, 3 key/value heads"));
    EXPECT_THAT(error.what(), HasSubstr("degrees that work: 1, 3"));
  }
  EXPECT_NO_THROW(check_tensor_degree(3, 9, 3, 1536));
  EXPECT_NO_THROW(check_tensor_degree(16, 32, 8, 14336));  // Llama-3-8B, two ranks to a key/value head
}

INSTANTIATE_TEST_SUITE_P(Sequence, TensorParallelTest, testing::Bool(),
                         [](const auto& given) { return given.param ? "shared" : "whole"; });

}  // namespace
}  // namespace medfuse::model
