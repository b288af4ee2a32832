// Initial values: a function of seed, name and index, with the variances that are promised.
#include "src/model/seed.h"

#include <gtest/gtest.h>

namespace medfuse::model {
namespace {

struct Two : torch::nn::Module {
  explicit Two(bool swapped) {
    if (swapped) b = register_module("b", torch::nn::Linear(300, 200));
    a = register_module("a", torch::nn::Linear(200, 300));
    if (!swapped) b = register_module("b", torch::nn::Linear(300, 200));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({200})));
  }
  torch::nn::Linear a{nullptr}, b{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};

TEST(SeedParameters, DependsOnNamesOnly) {
  Two first(false), second(true), third(false), fourth(false);
  seed_parameters(first, 1, "x.");
  seed_parameters(second, 1, "x.");
  seed_parameters(third, 2, "x.");
  seed_parameters(fourth, 1, "y.");
  EXPECT_TRUE(first.a->weight.equal(second.a->weight) && first.b->weight.equal(second.b->weight));
  EXPECT_FALSE(first.a->weight.equal(third.a->weight));
  EXPECT_FALSE(first.a->weight.equal(fourth.a->weight));
  EXPECT_FALSE(first.a->weight.flatten().equal(first.b->weight.flatten()));
}

TEST(SeedParameters, HasThePromisedSpread) {
  Two module(false);
  seed_parameters(module, 3, "");
  const at::Tensor weight = module.a->weight.detach();
  EXPECT_NEAR(weight.var().item<double>() * 200, 1, 0.02);
  EXPECT_NEAR(weight.mean().item<double>(), 0, 1e-3);
  EXPECT_LE(weight.abs().max().item<double>(), std::sqrt(3.0 / 200));
  EXPECT_EQ(module.a->bias.abs().max().item<float>(), 0);
  EXPECT_TRUE(module.norm->weight.eq(1).all().item<bool>());
}

TEST(SeedNormal, IsNormalAndScaled) {
  const at::Tensor value = at::empty({100000}, at::kDouble);
  seed_normal(value, 0.5, 1, "cls");
  EXPECT_NEAR(value.mean().item<double>(), 0, 0.01);
  EXPECT_NEAR(value.std().item<double>(), 0.5, 0.01);
  EXPECT_NEAR(value.abs().le(0.5).to(at::kDouble).mean().item<double>(), 0.6827, 0.01);
  const at::Tensor narrow = at::empty({1000}, at::kFloat);
  seed_normal(narrow, 0.5, 1, "cls");
  EXPECT_TRUE(narrow.equal(value.slice(0, 0, 1000).to(at::kFloat)));
}

}  // namespace
}  // namespace medfuse::model
