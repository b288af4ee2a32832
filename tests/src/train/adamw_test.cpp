#include "src/train/adamw.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>

#include <cmath>
#include <map>
#include <stdexcept>

namespace medfuse::train {
namespace {

at::Tensor parameter(at::IntArrayRef shape, at::ScalarType type, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kDouble)).to(type).requires_grad_();
}

void give_gradient(const at::Tensor& p, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  p.mutable_grad() = at::randn(p.sizes(), generator, at::TensorOptions().dtype(at::kDouble)).to(p.scalar_type());
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.detach().to(at::kDouble) - b.detach().to(at::kDouble)).abs().max().item<double>();
}

TEST(AdamW, FollowsThePaper) {
  const at::Tensor p = parameter({2, 2}, at::kDouble, 1);
  double x = p[0][1].item<double>(), m = 0, v = 0;
  AdamW optimiser({{{{"p", p}}, 0.5, 0.1}}, {0.8, 0.95, 1e-6});
  for (int t = 1; t <= 7; ++t) {
    give_gradient(p, 10 + t);
    const double g = 0.3 * p.grad()[0][1].item<double>(), rate = 0.02 * t;  // the schedule's rate, before the factor
    optimiser.step(rate, 0.3);
    m = 0.8 * m + 0.2 * g;
    v = 0.95 * v + 0.05 * g * g;
    const double m_hat = m / (1 - std::pow(0.8, t)), v_hat = v / (1 - std::pow(0.95, t));
    x = x - 0.5 * rate * (m_hat / (std::sqrt(v_hat) + 1e-6) + 0.1 * x);
    EXPECT_NEAR(p[0][1].item<double>(), x, 1e-13) << "step " << t;
  }
}

void compare_with_torch(at::ScalarType type, double tolerance) {
  const at::Tensor ours = parameter({257, 131}, type, 2);  // odd sizes: loops have tails
  const at::Tensor theirs = ours.detach().clone().requires_grad_();
  AdamW optimiser({{{{"w", ours}}, 1.0, 0.05}});
  torch::optim::AdamW reference({theirs}, torch::optim::AdamWOptions(3e-3).weight_decay(0.05));
  for (int t = 0; t < 25; ++t) {
    give_gradient(ours, 100 + t);
    theirs.mutable_grad() = ours.grad().clone();
    optimiser.step(3e-3);
    reference.step();
  }
  EXPECT_LE(difference(ours, theirs), tolerance);
}

TEST(AdamW, EqualsTorchsInFloat64) { compare_with_torch(at::kDouble, 1e-14); }
TEST(AdamW, EqualsTorchsInFloat32) { compare_with_torch(at::kFloat, 2e-6); }

TEST(AdamW, TensorOperationsGiveTheSameAsTheLoop) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor g = parameter({1000, 3}, type, 3).detach();
    at::Tensor p = parameter({1000, 3}, type, 4).detach(), m = at::zeros_like(p), v = at::zeros_like(p);
    at::Tensor p2 = p.clone(), m2 = m.clone(), v2 = v.clone();
    for (int t = 1; t <= 5; ++t) {
      const AdamWFactors factors{
          1e-2 / (1 - std::pow(0.9, t)), 1e-3, std::sqrt(1 - std::pow(0.999, t)), 0.9, 0.999, 1e-8, 0.7};
      adamw_fused(p, m, v, g * t, factors);
      adamw_tensors(p2, m2, v2, g * t, factors);
    }
    const double unit = type == at::kFloat ? 6e-8 : 1.2e-16;
    EXPECT_LE(difference(p, p2), 64 * unit);
    EXPECT_LE(difference(m, m2), 64 * unit);
    EXPECT_LE(difference(v, v2), 64 * unit);
  }
}

TEST(AdamW, BitsDoNotDependOnThreads) {
  auto run = [](int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    const at::Tensor p = parameter({100003}, at::kFloat, 5);
    AdamW optimiser({{{{"p", p}}}});
    for (int t = 0; t < 3; ++t) {
      give_gradient(p, 200 + t);
      optimiser.step(1e-2, 0.9);
    }
    at::set_num_threads(before);
    return p.detach();
  };
  EXPECT_TRUE(at::equal(run(1), run(3)));
}

TEST(AdamW, KeepsFloat32MastersOfNarrowParameters) {
  const at::Tensor narrow = parameter({64, 8}, at::kBFloat16, 6);
  const at::Tensor wide = narrow.detach().to(at::kFloat).requires_grad_();
  AdamW a({{{{"p", narrow}}}}), b({{{{"p", wide}}}});
  // Far below bf16's resolution: without masters nothing would move.
  for (int t = 0; t < 50; ++t) {
    give_gradient(narrow, 300);
    wide.mutable_grad() = narrow.grad().to(at::kFloat);
    a.step(1e-4);
    b.step(1e-4);
  }
  EXPECT_TRUE(at::equal(narrow.detach(), wide.detach().to(at::kBFloat16)));
  std::map<std::string, at::Tensor> state;
  for (const auto& tensor : a.state()) state[tensor.name] = tensor.local;
  ASSERT_TRUE(state.count("p.master"));
  EXPECT_TRUE(at::equal(state["p.master"], wide.detach()));
  EXPECT_EQ(state["p.moment1"].scalar_type(), at::kFloat);
  EXPECT_EQ(b.state().size(), 3u);  // a float32 parameter is its own master
}

TEST(AdamW, DecaysMatricesOnly) {
  const at::Tensor matrix = at::ones({2, 2}).requires_grad_(), vector = at::ones({2}).requires_grad_();
  AdamW optimiser({{{{"matrix", matrix}, {"vector", vector}}, 1.0, 0.5}});
  matrix.mutable_grad() = at::zeros({2, 2});
  vector.mutable_grad() = at::zeros({2});
  optimiser.step(0.1);
  EXPECT_TRUE(at::allclose(matrix.detach(), at::full({2, 2}, 0.95f)));
  EXPECT_TRUE(at::equal(vector.detach(), at::ones({2})));
}

TEST(AdamW, SkipsParametersWithoutGradient) {
  const at::Tensor a = parameter({3}, at::kFloat, 7), b = parameter({3}, at::kFloat, 8);
  const at::Tensor before = b.detach().clone();
  AdamW optimiser({{{{"a", a}, {"b", b}}}});
  give_gradient(a, 1);
  optimiser.step(0.1);
  EXPECT_TRUE(at::equal(b.detach(), before));
  EXPECT_TRUE(at::equal(optimiser.state().back().local, at::tensor({1, 0}, at::kLong)));
  optimiser.zero_grad();
  EXPECT_FALSE(a.grad().defined());
}

TEST(AdamW, ContinuesBitForBitFromItsState) {
  const at::Tensor whole = parameter({33, 5}, at::kFloat, 9), half = whole.detach().clone().requires_grad_();
  auto train = [](AdamW& optimiser, const at::Tensor& p, int begin, int end) {
    for (int t = begin; t < end; ++t) {
      give_gradient(p, 400 + t);
      optimiser.step(1e-2);
    }
  };
  AdamW uninterrupted({{{{"p", whole}}, 1.0, 0.1}}), first({{{{"p", half}}, 1.0, 0.1}});
  train(uninterrupted, whole, 0, 10);
  train(first, half, 0, 4);
  const at::Tensor resumed = half.detach().clone().requires_grad_();
  AdamW second({{{{"p", resumed}}, 1.0, 0.1}});
  const auto from = first.state(), to = second.state();
  for (std::size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(from[i].name, to[i].name);
    to[i].local.copy_(from[i].local);
  }
  train(second, resumed, 4, 10);
  EXPECT_TRUE(at::equal(resumed.detach(), whole.detach()));
}

/// Parameters of all kinds in two groups, the same on every call.
std::vector<ParameterGroup> some_groups() {
  const auto named = [](const std::string& name, at::IntArrayRef shape, at::ScalarType type, std::uint64_t seed) {
    return NamedTensor{name, parameter(shape, type, seed)};
  };
  return {{{named("matrix", {7, 5}, at::kFloat, 11), named("bias", {13}, at::kFloat, 12)}, 1.0, 0.3},
          {{named("narrow", {4, 3, 5}, at::kBFloat16, 13), named("scalar", {}, at::kDouble, 14)}, 0.1, 0.05}};
}

TEST(AdamW, PartsAreUpdatedAsInTheWhole) {
  const auto whole_groups = some_groups();
  AdamW whole(whole_groups);
  constexpr std::int64_t ranks = 3;
  std::vector<std::vector<ParameterGroup>> groups;
  std::vector<std::vector<parallel::OwnedPart>> owned(ranks);
  std::vector<AdamW> parts;
  for (std::int64_t r = 0; r < ranks; ++r) {
    groups.push_back(some_groups());
    for (const ParameterGroup& group : groups.back()) {
      for (const NamedTensor& parameter : group.parameters) {
        const std::int64_t n = parameter.tensor.numel(), begin = n * r / ranks, end = n * (r + 1) / ranks;
        owned[static_cast<std::size_t>(r)].push_back(
            {{begin, end}, parameter.tensor.detach().view({-1}).slice(0, begin, end)});
      }
    }
    parts.emplace_back(groups.back(), AdamWOptions{}, owned[static_cast<std::size_t>(r)]);
  }
  const auto parameters = whole.parameters();
  for (int t = 0; t < 6; ++t) {
    for (const NamedTensor& p : parameters) give_gradient(p.tensor, static_cast<std::uint64_t>(500 + t));
    whole.step(1e-2, 0.7);
    for (std::size_t r = 0; r < parts.size(); ++r) {
      std::vector<at::Tensor> gradients;
      for (std::size_t p = 0; p < parameters.size(); ++p) {
        const auto range = owned[r][p].range;
        gradients.push_back(parameters[p].tensor.grad().view({-1}).slice(0, range.begin, range.end));
      }
      parts[r].step(1e-2, 0.7, gradients);
    }
  }
  std::int64_t bytes = 0;
  for (std::size_t r = 0; r < parts.size(); ++r) {
    const auto own = parts[r].parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const auto range = owned[r][p].range;
      const auto part = [&](const at::Tensor& t) { return t.detach().view({-1}).slice(0, range.begin, range.end); };
      EXPECT_TRUE(at::equal(part(own[p].tensor), part(parameters[p].tensor))) << parameters[p].name << ", part " << r;
    }
    for (const auto& block : parts[r].state()) {
      if (block.name != "steps") bytes += static_cast<std::int64_t>(block.local.nbytes());
    }
  }
  // The blocks of all parts together are the whole's tensors.
  std::int64_t whole_bytes = 0;
  for (const auto& tensor : whole.state()) {
    if (tensor.name == "steps") continue;
    whole_bytes += static_cast<std::int64_t>(tensor.local.nbytes());
    at::Tensor joined = at::zeros_like(tensor.local);
    for (const AdamW& part : parts) {
      for (const auto& block : part.state()) {
        if (block.name != tensor.name) continue;
        EXPECT_EQ(block.global_shape, tensor.global_shape);
        at::Tensor place = joined;
        for (std::int64_t d = 0; d < place.dim(); ++d) {
          place = place.narrow(d, block.offset[static_cast<std::size_t>(d)], block.local.size(d));
        }
        place.copy_(block.local);
      }
    }
    EXPECT_TRUE(at::equal(joined, tensor.local)) << tensor.name;
  }
  EXPECT_EQ(bytes, whole_bytes);
}

TEST(AdamW, RefusesWhatItCannotUpdate) {
  EXPECT_THROW(AdamW({{{{"a", at::ones({2})}, {"a", at::ones({2})}}}}), std::logic_error);
  EXPECT_THROW(AdamW({{{{"a", at::ones({2}, at::kLong)}}}}), std::logic_error);
  EXPECT_THROW(AdamW({{{{"a", at::ones({2, 3}).t()}}}}), std::logic_error);
}

}  // namespace
}  // namespace medfuse::train
