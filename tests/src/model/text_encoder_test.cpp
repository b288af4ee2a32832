// The text encoder against transformers and PEFT, against itself under padding, and against finite differences.
#include "src/model/text_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/random.h"

namespace medfuse::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string fixtures = "tests/fixtures/model/";

TextOptions tiny_options(std::int64_t rank, const std::string& folder = "tiny") {
  TextOptions options;
  options.model = fixtures + folder;
  options.lora.rank = rank;
  options.lora.alpha = 12;
  options.lora.dropout = 0;
  return options;
}

ops::DropoutKeys sample_keys(std::int64_t count) {
  std::vector<std::int64_t> keys;
  for (std::int64_t i = 0; i < count; ++i) keys.push_back(static_cast<std::int64_t>(key({4, static_cast<std::uint64_t>(i)})));
  return {torch::tensor(keys), {}};
}

/// Puts values into every B, so that adapters do something.
void stir(TextEncoder& encoder) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const auto& item : encoder.named_parameters()) item.value().copy_(0.2 * at::randn_like(item.value()));
}

double worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.detach().to(at::kDouble) - b.detach().to(at::kDouble)).abs().max().item<double>();
}

class TextEncoderTest : public ::testing::Test {
 protected:
  weights::Safetensors expected_ = weights::Safetensors::open(fixtures + "tiny_expected.safetensors");
  at::Tensor tokens_BL_ = expected_.tensor("tokens");
  at::Tensor lengths_B_ = expected_.tensor("lengths");
};

TEST_F(TextEncoderTest, EqualsTransformersFromSingleAndShardedFolders) {
  for (const char* folder : {"tiny", "tiny_sharded"}) {
    const auto encoder = TextEncoder::load(tiny_options(0, folder), at::kFloat, 1);
    EXPECT_TRUE(encoder->parameters().empty());
    const at::Tensor embedded_BD = encoder->embed(tokens_BL_, lengths_B_);
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t length = lengths_B_[b].item<std::int64_t>();
      const at::Tensor expected_LD = expected_.tensor("hidden." + std::to_string(b));
      EXPECT_LE(worst(encoder->hidden(tokens_BL_.slice(0, b, b + 1).slice(1, 0, length))[0], expected_LD), 1e-4);
      EXPECT_LE(worst(embedded_BD[b], expected_LD[length - 1]), 1e-4) << folder << " sample " << b;
    }
  }
}

TEST_F(TextEncoderTest, RotaryScalingMatters) {
  // The fixture would prove nothing about Llama 3's rule if leaving it out stayed within the tolerance.
  weights::LlamaConfig config = weights::read_llama_config(fixtures + "tiny");
  config.rope_scaling.reset();
  TextEncoder encoder(tiny_options(0), config, weights::Safetensors::open(fixtures + "tiny"), at::kFloat, 1);
  EXPECT_GT(worst(encoder.hidden(tokens_BL_.slice(0, 0, 1))[0], expected_.tensor("hidden.0")), 1e-2);
}

TEST_F(TextEncoderTest, UsesOnlyTheFirstBlocksIfAsked) {
  TextOptions options = tiny_options(0);
  options.layers = 1;
  const auto encoder = TextEncoder::load(options, at::kFloat, 1);
  EXPECT_EQ(encoder->layers(), 1);
  const at::Tensor norm_D = weights::Safetensors::open(fixtures + "tiny").tensor("norm.weight");
  const at::Tensor raw_LD = expected_.tensor("after_block_1.0");
  const at::Tensor normed_LD = raw_LD * (raw_LD.square().mean(-1, true) + 1e-5).rsqrt() * norm_D;
  EXPECT_LE(worst(encoder->hidden(tokens_BL_.slice(0, 0, 1))[0], normed_LD), 1e-4);
}

TEST_F(TextEncoderTest, EqualsPeftWithItsAdapter) {
  const auto encoder = TextEncoder::load(tiny_options(4), at::kFloat, 1);
  const weights::Safetensors adapter = weights::Safetensors::open(fixtures + "tiny_adapter.safetensors");
  EXPECT_EQ(encoder->named_parameters().size(), adapter.names().size());
  {
    const torch::NoGradGuard no_grad;
    for (const auto& item : encoder->named_parameters()) item.value().copy_(adapter.tensor(item.key()));
  }
  const at::Tensor embedded_BD = encoder->embed(tokens_BL_, lengths_B_);
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t length = lengths_B_[b].item<std::int64_t>();
    const at::Tensor expected_LD = expected_.tensor("adapted." + std::to_string(b));
    EXPECT_LE(worst(encoder->hidden(tokens_BL_.slice(0, b, b + 1).slice(1, 0, length))[0], expected_LD), 1e-4);
    EXPECT_LE(worst(embedded_BD[b], expected_LD[length - 1]), 1e-4);
  }
}

TEST_F(TextEncoderTest, PaddingAndNeighboursNeverChangeAResult) {
  TextOptions options = tiny_options(4);
  options.lora.dropout = 0.3;
  const auto encoder = TextEncoder::load(options, at::kDouble, 1);
  stir(*encoder);
  const ops::DropoutKeys keys = sample_keys(3);
  const at::Tensor together_BD = encoder->embed(tokens_BL_, lengths_B_, keys);
  const auto gradients = [&](const at::Tensor& value) { return torch::autograd::grad({value.sum()}, encoder->parameters()); };
  const auto together = gradients(together_BD);
  std::vector<at::Tensor> sum;
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t length = lengths_B_[b].item<std::int64_t>();
    const ops::DropoutKeys own{keys.sample_keys_B.slice(0, b, b + 1), {}};
    const at::Tensor alone_BL = tokens_BL_.slice(0, b, b + 1).slice(1, 0, length);
    const at::Tensor alone = encoder->embed(alone_BL, lengths_B_.slice(0, b, b + 1), own);
    EXPECT_LE(worst(alone[0], together_BD[b]), 1e-11);
    // Other tokens behind the end, and more of them.
    const at::Tensor padded_BL = at::cat({alone_BL, at::full({1, 9}, 7, at::kLong)}, 1);
    EXPECT_TRUE(encoder->embed(padded_BL, lengths_B_.slice(0, b, b + 1), own).equal(alone));
    // The last token's state among those of all tokens: the short way through the last block changes nothing.
    EXPECT_LE(worst(encoder->hidden(alone_BL, own)[0][length - 1], alone[0]), 1e-11);
    const auto own_gradients = gradients(alone);
    for (std::size_t i = 0; i < own_gradients.size(); ++i) {
      if (b == 0) sum.push_back(own_gradients[i]);
      else sum[i] = sum[i] + own_gradients[i];
    }
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    EXPECT_LE(worst(sum[i], together[i]), 1e-10 * (1 + sum[i].abs().max().item<double>()));
  }
}

TEST_F(TextEncoderTest, GradientsEqualFiniteDifferences) {
  TextOptions options = tiny_options(2);
  options.lora.dropout = 0.2;
  const auto encoder = TextEncoder::load(options, at::kDouble, 1);
  stir(*encoder);
  const ops::DropoutKeys keys = sample_keys(2);
  const at::Tensor tokens_BL = tokens_BL_.slice(0, 0, 2).slice(1, 0, 6);
  const at::Tensor lengths_B = torch::tensor({6, 4}, at::kLong);
  const at::Tensor direction_BD = at::randn({2, encoder->width()}, at::kDouble);
  const auto loss = [&] { return (encoder->embed(tokens_BL, lengths_B, keys).tanh() * direction_BD).sum(); };
  const auto parameters = encoder->named_parameters();
  const auto gradients = torch::autograd::grad({loss()}, encoder->parameters());
  const torch::NoGradGuard no_grad;
  constexpr double step = 1e-5;
  std::size_t checked = 0;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor flat = parameters[i].value().flatten();  // shares the storage
    const at::Tensor slope = gradients[i].flatten();
    for (const std::int64_t element : {std::int64_t{0}, flat.numel() / 2}) {
      const double value = flat[element].item<double>();
      flat[element] = value + step;
      const double up = loss().item<double>();
      flat[element] = value - step;
      const double down = loss().item<double>();
      flat[element] = value;
      EXPECT_NEAR((up - down) / (2 * step), slope[element].item<double>(), 1e-6 * (1 + std::abs(slope[element].item<double>())))
          << parameters[i].key();
      checked += std::abs(slope[element].item<double>()) > 1e-6;
    }
  }
  EXPECT_GT(checked, gradients.size()) << "most gradients must not be zero";
}

TEST_F(TextEncoderTest, ComputesInBfloat16NearTheFloat32Result) {
  const auto narrow = TextEncoder::load(tiny_options(4), at::kBFloat16, 1);
  const auto wide = TextEncoder::load(tiny_options(4), at::kFloat, 1);
  stir(*narrow);
  stir(*wide);
  const at::Tensor a = narrow->embed(tokens_BL_, lengths_B_);
  const at::Tensor b = wide->embed(tokens_BL_, lengths_B_);
  EXPECT_EQ(a.scalar_type(), at::kBFloat16);
  EXPECT_LE(worst(a, b), 0.1 * b.abs().max().item<double>());
  a.sum().backward();
  for (const auto& item : narrow->named_parameters()) {
    EXPECT_EQ(item.value().grad().scalar_type(), at::kFloat) << item.key();
    EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
  }
}

TEST_F(TextEncoderTest, LearnsTheChosenAdaptersOnlyAndKeepsNoGraphBelowThem) {
  TextOptions options = tiny_options(4);
  options.lora.layers = "last:1";
  options.lora.targets = {"q_proj", "down_proj"};
  const auto encoder = TextEncoder::load(options, at::kFloat, 1);
  std::vector<std::string> names;
  for (const auto& item : encoder->named_parameters()) names.push_back(item.key());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("model.layers.1.self_attn.q_proj.lora_A.weight",
                                                     "model.layers.1.self_attn.q_proj.lora_B.weight",
                                                     "model.layers.1.mlp.down_proj.lora_A.weight",
                                                     "model.layers.1.mlp.down_proj.lora_B.weight"));
  stir(*encoder);
  const at::Tensor hidden = encoder->hidden(tokens_BL_);
  // Walk the graph: a block adds two residual sums, and only the last block may have recorded any of its own.
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open = {hidden.grad_fn().get()};
  std::size_t norms = 0;
  while (!open.empty()) {
    torch::autograd::Node* const node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    norms += node->name().find("RmsNorm") != std::string::npos;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  // Final norm and the norm before the last block's feed-forward part; the one before its attention has a frozen input.
  EXPECT_EQ(norms, 2u);
}

TEST_F(TextEncoderTest, CacheOfFrozenStatesNeverShowsInAResult) {
  TextOptions options = tiny_options(4);
  options.lora.layers = "last:1";
  options.lora.dropout = 0.3;
  const auto plain = TextEncoder::load(options, at::kFloat, 1);
  stir(*plain);
  const auto cached = TextEncoder::load(options, at::kFloat, 1);
  stir(*cached);
  const ops::DropoutKeys keys = sample_keys(3);
  const auto run = [&](TextEncoder& encoder) {
    const at::Tensor value = encoder.embed(tokens_BL_, lengths_B_, keys);
    std::vector<at::Tensor> all = torch::autograd::grad({value.square().sum()}, encoder.parameters());
    all.push_back(value.detach());
    return all;
  };
  const auto expected = run(*plain);
  const auto expect_equal_bits = [](const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << i;
  };
  cached->cache_frozen_states(1 << 20);
  const auto first = run(*cached);
  EXPECT_GE(cached->cached_bytes(), (60 + 17 + 1) * 64 * 4);
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_LE(worst(first[i], expected[i]), 1e-4 * (1 + expected[i].abs().max().item<double>()));
  }
  expect_equal_bits(run(*cached), first);
  EXPECT_LE(cached->cached_bytes(), 1 << 20);
  cached->cache_frozen_states(6000);  // room for the shorter texts only
  expect_equal_bits(run(*cached), first);
  expect_equal_bits(run(*cached), first);
  EXPECT_LE(cached->cached_bytes(), 6000);
  EXPECT_GT(cached->cached_bytes(), 0);
  // Another text with the same beginning is another text.
  const at::Tensor other_BL = at::cat({tokens_BL_.slice(1, 0, 16), tokens_BL_.slice(1, 16) * 0 + 5}, 1);
  EXPECT_LE(worst(cached->embed(other_BL, lengths_B_), plain->embed(other_BL, lengths_B_)), 1e-4);
  cached->cache_frozen_states(0);
  expect_equal_bits(run(*cached), expected);
}

TEST_F(TextEncoderTest, FrozenWeightsOfTheRightTypeStayInTheMapping) {
  const auto encoder = TextEncoder::load(tiny_options(4), at::kFloat, 1);
  const weights::Safetensors file = weights::Safetensors::open(fixtures + "tiny");
  std::size_t aligned = 0;
  for (const auto& item : encoder->named_buffers()) {
    EXPECT_FALSE(item.value().requires_grad());
    EXPECT_TRUE(item.value().equal(file.tensor(item.key().substr(6)))) << item.key();
    // A view of the mapping owns no allocation of LibTorch.
    aligned += item.value().storage().allocator() == nullptr;
  }
  EXPECT_EQ(aligned, encoder->named_buffers().size());
}

TEST_F(TextEncoderTest, RefusesWhatDoesNotFit) {
  const auto encoder = TextEncoder::load(tiny_options(0), at::kFloat, 1);
  const at::Tensor one = at::ones({1}, at::kLong);
  EXPECT_THROW(encoder->embed(at::zeros({1, 4}, at::kLong), one * 5), std::logic_error);
  EXPECT_THROW(encoder->embed(at::zeros({1, 4}, at::kLong), one * 0), std::logic_error);
  EXPECT_THROW(encoder->embed(at::zeros({2, 4}, at::kLong), one), std::logic_error);
  EXPECT_THROW(encoder->hidden(at::full({1, 4}, 260, at::kLong)), Error);
  EXPECT_THROW(encoder->hidden(at::full({1, 4}, -1, at::kLong)), Error);
  EXPECT_THROW(TextEncoder::load(tiny_options(0), at::kHalf, 1), std::logic_error);
  TextOptions options = tiny_options(4);
  options.layers = 3;
  EXPECT_THROW(TextEncoder::load(options, at::kFloat, 1), Error);
  options = tiny_options(4);
  options.lora.dropout = 1;
  EXPECT_THROW(TextEncoder::load(options, at::kFloat, 1), Error);
  // Weights of another shape than config.json says.
  weights::LlamaConfig config = weights::read_llama_config(fixtures + "tiny");
  config.intermediate_size = 96;
  try {
    TextEncoder(tiny_options(0), config, weights::Safetensors::open(fixtures + "tiny"), at::kFloat, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("gate_proj"), HasSubstr("[80, 64]"), HasSubstr("[96, 64]")));
  }
}

TEST_F(TextEncoderTest, RandomWeightsHangOnTheSeedOnly) {
  const weights::LlamaConfig config = weights::read_llama_config(fixtures + "tiny");
  const auto value = [&](std::uint64_t seed) {
    return TextEncoder(tiny_options(2), config, at::kFloat, seed).embed(tokens_BL_, lengths_B_);
  };
  EXPECT_TRUE(value(1).equal(value(1)));
  EXPECT_FALSE(value(1).equal(value(2)));
  EXPECT_TRUE(value(1).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace medfuse::model
