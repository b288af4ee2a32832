// Adapted projections: formula, gradients, PEFT's numbers, placement.
#include "src/model/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace medfuse::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ops::DropoutKeys sample_keys(std::int64_t count) {
  std::vector<std::int64_t> keys;
  for (std::int64_t i = 0; i < count; ++i) keys.push_back(static_cast<std::int64_t>(key({9, static_cast<std::uint64_t>(i)})));
  return {torch::tensor(keys), {}};
}

LoraOptions options(double dropout) {
  LoraOptions lora;
  lora.rank = 3;
  lora.alpha = 6;
  lora.dropout = dropout;
  return lora;
}

LoraLinear adapted(std::int64_t rows, std::int64_t columns, double dropout, ops::Site site, at::ScalarType type) {
  torch::manual_seed(static_cast<std::uint64_t>(rows) * 100 + static_cast<std::uint64_t>(site));
  LoraLinear linear(at::randn({rows, columns}, type), options(dropout), {5, "p", 2, site});
  const torch::NoGradGuard no_grad;
  linear.lora_B().copy_(at::randn({rows, 3}));
  return linear;
}

/// The formula by plain tensor operations and autograd.
at::Tensor plain(const LoraLinear& linear, const at::Tensor& x, double dropout, const ops::DropoutKeys& keys,
                 ops::Site site) {
  const at::Tensor y = x.mm(linear.weight().t());
  if (!linear.adapted()) return y;
  at::Tensor dropped = x;
  if (keys.sample_keys_B.defined()) {
    dropped = x * ops::dropout_mask(x.sizes(), dropout, keys, 2, site) / (1 - dropout);
  }
  return y + 2 * dropped.mm(linear.lora_A().t()).mm(linear.lora_B().t());
}

TEST(LoraLinear, StartsAsTheBaseProjection) {
  const at::Tensor weight = at::randn({6, 5});
  LoraLinear linear(weight, options(0.5), {5, "p", 2, ops::Site::up});
  const at::Tensor x = at::randn({2, 4, 5});
  EXPECT_TRUE(linear.forward(x, sample_keys(2)).allclose(at::matmul(x, weight.t()), 1e-5, 1e-6));
  EXPECT_EQ(linear.lora_B().abs().max().item<float>(), 0);
  EXPECT_LE(linear.lora_A().abs().max().item<double>(), 1 / std::sqrt(5.0));
  EXPECT_GT(linear.lora_A().abs().max().item<double>(), 0.3 / std::sqrt(5.0));
  // Values hang on seed and name only.
  EXPECT_TRUE(LoraLinear(weight, options(0), {5, "p", 0, ops::Site::key}).lora_A().equal(linear.lora_A()));
  EXPECT_FALSE(LoraLinear(weight, options(0), {6, "p", 2, ops::Site::up}).lora_A().equal(linear.lora_A()));
  EXPECT_FALSE(LoraLinear(weight, options(0), {5, "q", 2, ops::Site::up}).lora_A().equal(linear.lora_A()));
}

TEST(LoraLinear, LearnsItsFactorsOnlyAndNamesThemAsPeftDoes) {
  LoraLinear linear(at::randn({6, 5}, at::kBFloat16), options(0), {5, "p", 2, ops::Site::up});
  std::vector<std::string> names;
  for (const auto& item : linear.named_parameters()) {
    names.push_back(item.key());
    EXPECT_EQ(item.value().scalar_type(), at::kFloat) << "masters stay in float32 beside bfloat16 weights";
  }
  EXPECT_THAT(names, ElementsAre("lora_A.weight", "lora_B.weight"));
  EXPECT_EQ(linear.named_buffers().keys(), std::vector<std::string>{"weight"});
  EXPECT_FALSE(linear.weight().requires_grad());
  EXPECT_TRUE(LoraLinear(at::randn({6, 5})).parameters().empty());
  EXPECT_EQ(LoraLinear(at::randn({6, 5}, at::kDouble), options(0), {5, "p", 2, ops::Site::up}).lora_A().scalar_type(),
            at::kDouble);
}

TEST(Project, EqualsThePlainFormulaWithItsGradients) {
  for (const bool with_keys : {false, true}) {
    LoraLinear first = adapted(7, 10, 0.4, ops::Site::query, at::kDouble);
    LoraLinear second(at::randn({4, 10}, at::kDouble));
    LoraLinear third = adapted(5, 10, 0.4, ops::Site::value, at::kDouble);
    const ops::DropoutKeys keys = with_keys ? sample_keys(6) : ops::DropoutKeys{};
    const at::Tensor x = at::randn({6, 10}, at::kDouble).requires_grad_();
    const auto outputs = project(x, {&first, &second, &third}, keys);
    const std::vector<at::Tensor> expected = {plain(first, x, 0.4, keys, ops::Site::query),
                                              plain(second, x, 0.4, keys, ops::Site::key),
                                              plain(third, x, 0.4, keys, ops::Site::value)};
    std::vector<at::Tensor> gradients;
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(outputs[i].allclose(expected[i], 1e-12, 1e-12)) << i;
      gradients.push_back(at::randn_like(outputs[i]));
    }
    const std::vector<at::Tensor> inputs = {x, first.lora_A(), first.lora_B(), third.lora_A(), third.lora_B()};
    const auto ours = torch::autograd::grad(outputs, inputs, gradients);
    const auto theirs = torch::autograd::grad(expected, inputs, gradients);
    for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(ours[i].allclose(theirs[i], 1e-12, 1e-12)) << i;
  }
}

TEST(Project, OneUnusedOutputLeavesTheOthersRight) {
  LoraLinear first = adapted(7, 10, 0, ops::Site::query, at::kDouble);
  LoraLinear second = adapted(4, 10, 0, ops::Site::key, at::kDouble);
  const at::Tensor x = at::randn({6, 10}, at::kDouble).requires_grad_();
  const auto ours = torch::autograd::grad({project(x, {&first, &second}, {})[1].sum()}, {x, second.lora_A()});
  const auto theirs = torch::autograd::grad({plain(second, x, 0, {}, ops::Site::key).sum()}, {x, second.lora_A()});
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(ours[i].allclose(theirs[i], 1e-12, 1e-12)) << i;
}

TEST(Project, FactorsLearnThoughTheInputDoesNot) {
  LoraLinear linear = adapted(7, 10, 0.2, ops::Site::query, at::kFloat);
  const at::Tensor x = at::randn({6, 10});
  project(x, {&linear}, sample_keys(6))[0].square().sum().backward();
  EXPECT_GT(linear.lora_A().grad().abs().max().item<float>(), 0);
  EXPECT_GT(linear.lora_B().grad().abs().max().item<float>(), 0);
  EXPECT_FALSE(LoraLinear(at::randn({7, 10})).forward(x, {}).requires_grad()) << "no graph without anything to learn";
}

TEST(LoraLinear, MergesIntoOneWeight) {
  LoraLinear linear = adapted(7, 10, 0.5, ops::Site::query, at::kDouble);
  const at::Tensor x = at::randn({6, 10}, at::kDouble);
  EXPECT_TRUE(x.mm(linear.merged().t()).allclose(linear.forward(x, {}), 1e-12, 1e-12));
}

TEST(LoraLayers, AreParsed) {
  EXPECT_THAT(parse_lora_layers("all", 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(parse_lora_layers("last:2", 5), ElementsAre(3, 4));
  EXPECT_THAT(parse_lora_layers("0-2, 4", 5), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(parse_lora_layers("4,1,1-2", 5), ElementsAre(1, 2, 4));
  for (const char* bad : {"", "none", "last:", "last:0", "last:6", "last:x", "5", "0-5", "3-1", "1,,2", "1,", "-1", "1-",
                          "99999999999999999999", "1.5", "all,1"}) {
    try {
      parse_lora_layers(bad, 5);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_THAT(error.what(), HasSubstr("text.lora_layers"));
    }
  }
}

TEST(LoraTargets, AreChecked) {
  check_lora_targets({"q_proj", "down_proj"});
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"lm_head"}, {"q_proj", "q_proj"}, {""}}) {
    try {
      check_lora_targets(bad);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_THAT(error.what(), HasSubstr("text.lora_targets"));
    }
  }
}

}  // namespace
}  // namespace medfuse::model
