// Recomputation must not show in any result: gradients are compared bit for bit, hooks and runs are counted, and the
// memory that a graph keeps is measured.
#include "src/model/recompute.h"

#include <ATen/autocast_mode.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "src/model/lab_transformer.h"
#include "src/model/text_encoder.h"

namespace medfuse::model {
namespace {

using Tensors = std::vector<at::Tensor>;

constexpr Recompute kModes[] = {Recompute::none, Recompute::attention, Recompute::full};

constexpr std::int64_t kLayers = 3;
constexpr std::int64_t kWidth = 32;

std::shared_ptr<TextEncoder> tiny_encoder(at::ScalarType dtype, const std::string& adapted = "all",
                                          std::int64_t rank = 4) {
  weights::LlamaConfig config;
  config.vocab_size = 50;
  config.hidden_size = kWidth;
  config.intermediate_size = 48;
  config.num_hidden_layers = kLayers;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  TextOptions options;
  options.lora.rank = rank;
  options.lora.dropout = 0.2;
  options.lora.layers = adapted;
  auto encoder = std::make_shared<TextEncoder>(options, config, dtype, 1);
  // Puts values into every B, so that all adapters have a gradient.
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const at::Tensor& parameter : encoder->parameters()) parameter.copy_(0.2 * at::randn_like(parameter));
  return encoder;
}

struct Texts {
  at::Tensor tokens_BL;
  at::Tensor lengths_B;
  ops::DropoutKeys keys;

  Texts rows(std::int64_t begin, std::int64_t end) const {
    const ops::DropoutKeys own{keys.sample_keys_B.slice(0, begin, end), {}};
    return {tokens_BL.slice(0, begin, end), lengths_B.slice(0, begin, end), own};
  }
};

ops::DropoutKeys sample_keys(std::int64_t count) {
  std::vector<std::int64_t> keys;
  for (std::int64_t i = 0; i < count; ++i) {
    keys.push_back(static_cast<std::int64_t>(key({4, static_cast<std::uint64_t>(i)})));
  }
  return {torch::tensor(keys), {}};
}

Texts tiny_texts() {
  torch::manual_seed(5);
  return {at::randint(50, {4, 12}, at::kLong), torch::tensor({12, 1, 7, 5}, at::kLong), sample_keys(4)};
}

at::Tensor loss_of(TextEncoder& encoder, const Texts& texts) {
  return encoder.embed(texts.tokens_BL, texts.lengths_B, texts.keys).tanh().square().sum();
}

/// Gradients of all parameters, which then have none.
Tensors take_gradients(torch::nn::Module& module) {
  Tensors gradients;
  for (const at::Tensor& parameter : module.parameters()) {
    gradients.push_back(parameter.grad());
    parameter.mutable_grad() = at::Tensor();
  }
  return gradients;
}

void expect_same_bits(const Tensors& actual, const Tensors& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(actual[i].defined() && expected[i].defined()) << "tensor " << i;
    EXPECT_TRUE(actual[i].equal(expected[i])) << "tensor " << i;
    EXPECT_GT(expected[i].abs().max().item<double>(), 0) << "tensor " << i << " proves nothing";
  }
}

/// Steps of the graph behind `result` whose name contains `word`.
std::size_t count_nodes(const at::Tensor& result, const std::string& word) {
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open = {result.grad_fn().get()};
  std::size_t count = 0;
  while (!open.empty()) {
    torch::autograd::Node* const node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    count += node->name().find(word) != std::string::npos;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return count;
}

/// Counts the bytes of tensors in main memory, of all that are allocated while it is in force.
class Meter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t now() const { return now_; }
  std::int64_t peak() const { return peak_; }

 private:
  std::int64_t now_ = 0;
  std::int64_t peak_ = 0;
};

struct Memory {
  std::int64_t kept = 0;  ///< by the graph between the passes
  std::int64_t peak = 0;  ///< over both passes, gradients included
};

Memory measure(const std::function<at::Tensor()>& loss) {
  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  Memory memory;
  {
    const at::Tensor value = loss();
    memory.kept = meter->now();
    value.backward();
  }
  memory.peak = meter->peak();
  return memory;
}

TEST(Recompute, ReadsItsThreeWords) {
  EXPECT_EQ(recompute_mode("none"), Recompute::none);
  EXPECT_EQ(recompute_mode("attention"), Recompute::attention);
  EXPECT_EQ(recompute_mode("full"), Recompute::full);
  try {
    recompute_mode("some");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("recompute = 'some'"));
  }
}

// Block 0 stands over the frozen embedding: its input needs no gradient, its adapters do.
TEST(Recompute, GradientsOfTheTextEncoderAreTheSameBits) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const auto encoder = tiny_encoder(dtype);
    const Texts texts = tiny_texts();
    for (const bool every_token : {false, true}) {
      const auto run = [&] {
        const at::Tensor value = every_token ? encoder->hidden(texts.tokens_BL, texts.keys)
                                             : encoder->embed(texts.tokens_BL, texts.lengths_B, texts.keys);
        value.tanh().square().sum().backward();
        Tensors all = take_gradients(*encoder);
        all.push_back(value.detach());
        return all;
      };
      encoder->set_recompute(Recompute::none);
      const Tensors expected = run();
      ASSERT_EQ(expected.size(), kLayers * 7 * 2 + 1u);
      for (const Recompute mode : kModes) {
        encoder->set_recompute(mode);
        expect_same_bits(run(), expected);
      }
    }
  }
}

TEST(Recompute, GradientsOfTheLabTransformerAreTheSameBits) {
  LabOptions options;
  options.width = 16;
  options.encoder_layers = 2;
  options.decoder_layers = 2;
  options.dropout = 0.2;
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    LabTransformer labs(options, 7, 1);
    labs.to(dtype);
    torch::manual_seed(6);
    const at::Tensor values_BC = at::rand({9, 7}, dtype);
    const at::Tensor keep_BC = at::rand({9, 7}) < 0.6;
    const auto run = [&] {
      const LabTokens tokens = labs.encode(values_BC, keep_BC, sample_keys(9));
      (labs.forward(values_BC, keep_BC, sample_keys(9)).square().sum() + tokens.tokens_BTW.square().sum()).backward();
      return take_gradients(labs);
    };
    const Tensors expected = run();
    for (const Recompute mode : kModes) {
      labs.set_recompute(mode);
      expect_same_bits(run(), expected);
    }
    EXPECT_EQ(count_nodes(labs.forward(values_BC, keep_BC), "Recomputed"), 4u);
  }
}

TEST(Recompute, WrapsOnlyBlocksThatHaveSomethingToSave) {
  const Texts texts = tiny_texts();
  const auto wrapped = [&](const std::string& adapted, Recompute mode) {
    const auto encoder = tiny_encoder(at::kFloat, adapted);
    encoder->set_recompute(mode);
    return count_nodes(loss_of(*encoder, texts), "Recomputed");
  };
  EXPECT_EQ(wrapped("all", Recompute::none), 0u);
  EXPECT_EQ(wrapped("all", Recompute::attention), 3u);
  EXPECT_EQ(wrapped("all", Recompute::full), 3u);
  EXPECT_EQ(wrapped("last:1", Recompute::full), 1u);  // those below have neither adapters nor a gradient to hand on
  EXPECT_EQ(wrapped("0", Recompute::full), 3u);       // those above have no adapters, but a gradient to hand on
  const auto frozen = tiny_encoder(at::kFloat, "all", 0);
  frozen->set_recompute(Recompute::full);
  EXPECT_FALSE(loss_of(*frozen, texts).requires_grad());
}

TEST(Recompute, GoesWithKeptStatesAndBlocksWithoutAdapters) {
  const Texts texts = tiny_texts();
  for (const char* adapted : {"last:1", "1", "0"}) {
    const auto encoder = tiny_encoder(at::kFloat, adapted);
    encoder->cache_frozen_states(1 << 20);
    const auto run = [&] {
      loss_of(*encoder, texts).backward();
      return take_gradients(*encoder);
    };
    const Tensors expected = run();
    for (const Recompute mode : kModes) {
      encoder->set_recompute(mode);
      expect_same_bits(run(), expected);
    }
    EXPECT_EQ(encoder->cached_bytes() > 0, std::string(adapted) != "0");
  }
}

TEST(Recompute, MicroBatchesAccumulate) {
  const auto encoder = tiny_encoder(at::kFloat);
  const Texts texts = tiny_texts();
  const auto run = [&] {
    // Both graphs stand before the first is used up.
    const at::Tensor first = loss_of(*encoder, texts.rows(0, 3));
    const at::Tensor second = loss_of(*encoder, texts.rows(3, 4));
    first.backward();
    second.backward();
    return take_gradients(*encoder);
  };
  const Tensors expected = run();
  for (const Recompute mode : kModes) {
    encoder->set_recompute(mode);
    expect_same_bits(run(), expected);
  }
}

/// Counts its calls, and keeps the gradient that it saw last.
class CountingHook : public torch::autograd::PostAccumulateGradHook {
 public:
  CountingHook(int& calls, at::Tensor& seen) : calls_(calls), seen_(seen) {}
  void operator()(const at::Tensor& parameter) override {
    ++calls_;
    seen_ = parameter.grad().clone();
  }

 private:
  int& calls_;
  at::Tensor& seen_;
};

TEST(Recompute, EveryHookIsCalledOnceInABackwardPassWithTheWholeGradient) {
  const Texts texts = tiny_texts();
  for (const Recompute mode : kModes) {
    const auto encoder = tiny_encoder(at::kFloat);
    encoder->set_recompute(mode);
    const Tensors parameters = encoder->parameters();
    std::vector<int> calls(parameters.size());
    Tensors seen(parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      torch::autograd::impl::set_post_acc_grad_hooks(parameters[i], std::make_unique<CountingHook>(calls[i], seen[i]));
    }
    for (int pass = 1; pass <= 2; ++pass) {
      loss_of(*encoder, texts.rows(2 * pass - 2, 2 * pass)).backward();
      EXPECT_THAT(calls, ::testing::Each(pass));
      for (std::size_t i = 0; i < parameters.size(); ++i) EXPECT_TRUE(seen[i].equal(parameters[i].grad())) << i;
    }
  }
}

TEST(Recompute, GivesJustTheGradientsThatAreAskedFor) {
  const auto encoder = tiny_encoder(at::kFloat);
  const Texts texts = tiny_texts();
  const Tensors all = torch::autograd::grad({loss_of(*encoder, texts)}, encoder->parameters());
  for (const Recompute mode : kModes) {
    encoder->set_recompute(mode);
    for (const std::size_t i : {std::size_t{0}, all.size() / 2, all.size() - 1}) {
      expect_same_bits(torch::autograd::grad({loss_of(*encoder, texts)}, {encoder->parameters()[i]}), {all[i]});
    }
    EXPECT_FALSE(encoder->parameters()[0].grad().defined()) << "the inner pass may not accumulate by itself";
  }
}

TEST(Recompute, AGraphOutlivesItsModel) {
  const Texts texts = tiny_texts();
  for (const Recompute mode : kModes) {
    auto encoder = tiny_encoder(at::kFloat);
    encoder->set_recompute(mode);
    const Tensors parameters = encoder->parameters();
    const at::Tensor loss = loss_of(*encoder, texts);
    encoder.reset();
    loss.backward();
    for (const at::Tensor& parameter : parameters) EXPECT_TRUE(parameter.grad().defined());
  }
}

/// A part in miniature: x W1' W2', with its runs counted.
struct Small {
  torch::nn::Linear first{torch::nn::LinearOptions(6, 5).bias(false)};
  torch::nn::Linear second{torch::nn::LinearOptions(5, 4).bias(false)};
  int runs = 0;

  at::Tensor run(bool wanted, const at::Tensor& x) {
    return recompute_if(wanted, {first.ptr(), second.ptr()}, x, [this](const at::Tensor& input) {
      ++runs;
      return at::linear(at::linear(input, first->weight).tanh(), second->weight);
    });
  }
  Tensors gradients() const { return {first->weight.grad(), second->weight.grad()}; }
};

TEST(Recompute, RunsAgainOnTheWayBackOnly) {
  Small small;
  const at::Tensor x = at::ones({2, 6});
  const at::Tensor plain = small.run(false, x);
  EXPECT_EQ(small.runs, 1);
  const at::Tensor y = small.run(true, x);
  EXPECT_TRUE(y.equal(plain));
  EXPECT_EQ(small.runs, 2);
  y.sum().backward({}, /*retain_graph=*/true);
  EXPECT_EQ(small.runs, 3);
  const at::Tensor once = small.first->weight.grad().clone();
  y.sum().backward();  // a kept graph may be used again
  EXPECT_EQ(small.runs, 4);
  EXPECT_TRUE(small.first->weight.grad().equal(2 * once));
}

TEST(Recompute, KeepsNothingWithoutGradients) {
  Small small;
  {
    const torch::NoGradGuard no_grad;
    EXPECT_FALSE(small.run(true, at::ones({2, 6})).requires_grad());
  }
  small.first->weight.requires_grad_(false);
  small.second->weight.requires_grad_(false);
  EXPECT_FALSE(small.run(true, at::ones({2, 6})).requires_grad());
  EXPECT_EQ(small.runs, 2);
  // An input that needs a gradient is enough.
  const at::Tensor x = at::ones({2, 6}).requires_grad_();
  EXPECT_EQ(count_nodes(small.run(true, x), "Recomputed"), 1u);
}

TEST(Recompute, AutocastIsAsItWas) {
  const at::Tensor x = at::linspace(-1, 1, 12).view({2, 6});
  Small small;
  const auto run = [&](bool wanted) {
    small.first->zero_grad();
    small.second->zero_grad();
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const at::Tensor y = small.run(wanted, x);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    // Its cache still stands: copies that the first run cast without a graph may not serve the second.
    y.to(at::kFloat).square().sum().backward();
    at::autocast::clear_cache();
    return Tensors{y.detach(), small.first->weight.grad().clone(), small.second->weight.grad().clone()};
  };
  expect_same_bits(run(true), run(false));
}

TEST(Recompute, RefusesAnotherResultTheSecondTime) {
  torch::nn::Linear layer(3, 3);
  std::int64_t rows = 2;
  const at::Tensor y = recompute_if(true, {layer.ptr()}, at::ones({4, 3}), [&](const at::Tensor& x) {
    return layer->forward(x.narrow(0, 0, rows--));
  });
  EXPECT_THROW(y.sum().backward(), std::logic_error);
  EXPECT_FALSE(layer->weight.grad().defined());
}

TEST(Recompute, RefusesParametersThatAnOptimiserHasChangedInBetween) {
  Small small;
  const at::Tensor y = small.run(true, at::ones({2, 6}));
  {
    const torch::NoGradGuard no_grad;
    small.second->weight.add_(1);
  }
  EXPECT_THROW(y.sum().backward(), c10::Error);
}

TEST(Recompute, RefusesGradientsOfGradients) {
  Small small;
  const at::Tensor y = small.run(true, at::ones({2, 6}));
  EXPECT_THROW(torch::autograd::grad({y.sum()}, {small.first->weight}, {}, true, /*create_graph=*/true),
               std::logic_error);
}

TEST(Recompute, FullKeepsLessThanAttentionAndThatLessThanNone) {
  const auto encoder = tiny_encoder(at::kFloat);
  const std::int64_t rows = 16 * 48;
  torch::manual_seed(5);
  const Texts texts{at::randint(50, {16, 48}, at::kLong), at::full({16}, 48, at::kLong), sample_keys(16)};
  std::vector<Memory> memory;
  for (const Recompute mode : kModes) {
    encoder->set_recompute(mode);
    loss_of(*encoder, texts).backward();  // what is allocated once: gradients, rotary angles
    memory.push_back(measure([&] { return loss_of(*encoder, texts); }));
    std::printf("kept %lld, peak %lld bytes\n", static_cast<long long>(memory.back().kept),
                static_cast<long long>(memory.back().peak));
  }
  const Memory& none = memory[0];
  const Memory& attention = memory[1];
  const Memory& full = memory[2];
  EXPECT_LT(attention.kept, 0.8 * static_cast<double>(none.kept));
  EXPECT_LT(attention.peak, none.peak);
  EXPECT_LT(full.kept, 0.4 * static_cast<double>(attention.kept));
  EXPECT_LT(full.peak, attention.peak);
  // One input for each block, and what all blocks share: angles, keys and places of the rows.
  const std::int64_t input = rows * kWidth * 4;
  const std::int64_t shared = rows * (2 * 4 * 4 + 3 * 8);
  EXPECT_LE(full.kept, kLayers * input + shared + 64 * 1024);
}

// By hand: what recomputation saves and costs with SmolLM2-135M (README, Figures).
TEST(Recompute, DISABLED_MeasuresSmolLM2) {
  TextOptions options;
  const char* const given = std::getenv("MEDFUSE_SMOLLM2");
  options.model = given != nullptr ? given : ".deps/weights/smollm2-135m";
  if (!std::filesystem::exists(std::filesystem::path(options.model) / "config.json")) {
    GTEST_SKIP() << "no SmolLM2-135M in " << options.model << ": set MEDFUSE_SMOLLM2 to its Hugging Face folder";
  }
  const auto encoder = TextEncoder::load(options, at::kFloat, 1);
  torch::manual_seed(5);
  const std::int64_t samples = 4, length = 512;
  const Texts texts{at::randint(encoder->config().vocab_size, {samples, length}, at::kLong),
                    at::full({samples}, length, at::kLong), sample_keys(samples)};
  const char* const names[] = {"none", "attention", "full"};
  std::vector<Memory> memory;
  std::vector<double> wall(std::size(kModes), 1e9), processor(std::size(kModes), 1e9);
  Tensors expected;
  // In turn, and the shortest of each: what else the machine does shall not decide. The first round measures memory and
  // warms up.
  constexpr int rounds = 3;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < std::size(kModes); ++i) {
      encoder->set_recompute(kModes[i]);
      if (round == 0) {
        memory.push_back(measure([&] { return loss_of(*encoder, texts); }));
      } else {
        const auto begin = std::chrono::steady_clock::now();
        const std::clock_t processor_begin = std::clock();
        loss_of(*encoder, texts).backward();
        wall[i] = std::min(wall[i], std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        processor[i] = std::min(processor[i], static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC);
      }
      const Tensors gradients = take_gradients(*encoder);
      if (expected.empty()) expected = gradients;
      for (std::size_t k = 0; k < gradients.size(); ++k) EXPECT_TRUE(gradients[k].equal(expected[k])) << names[i];
    }
  }
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    std::printf("%-9s  kept %6.0f MiB  peak %6.0f MiB  %6.2f s/step, of the processor %6.2f s\n", names[i],
                static_cast<double>(memory[i].kept) / 0x1p20, static_cast<double>(memory[i].peak) / 0x1p20, wall[i],
                processor[i]);
  }
}

}  // namespace
}  // namespace medfuse::model
