// Masks: kernel against tensors against the scalar mixer, independence of batch, split and layout, and the way back.
#include "src/ops/dropout.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include "base/random.h"

namespace medfuse::ops {
namespace {

DropoutKeys keys_of(std::initializer_list<std::uint64_t> samples) {
  std::vector<std::int64_t> keys;
  for (const std::uint64_t sample : samples) keys.push_back(static_cast<std::int64_t>(key({7, 1, 0, sample})));
  return {torch::tensor(keys), {}};
}

TEST(Dropout, KernelTensorsAndScalarMixerAgree) {
  const DropoutKeys keys = keys_of({3, 1ull << 63, 12});
  const double p = 0.3;
  const at::Tensor mask = dropout_mask({3, 5, 37}, p, keys, 11, Site::up, 101);
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor out = dropout(at::ones({3, 5, 37}, type), p, keys, 11, Site::up, 101);
    EXPECT_TRUE(out.ne(0).equal(mask)) << type;
    EXPECT_TRUE(out.equal((mask.to(at::kDouble) / (1 - p)).to(type))) << type;
  }
  for (std::int64_t b = 0; b < 3; ++b) {
    for (std::int64_t t = 0; t < 5; ++t) {
      for (std::int64_t d = 0; d < 37; ++d) {
        std::uint64_t k = static_cast<std::uint64_t>(keys.sample_keys_B[b].item<std::int64_t>());
        const std::int64_t feature = 101 + d;
        for (const std::int64_t c : {std::int64_t{11}, static_cast<std::int64_t>(Site::up), t, feature / 2}) {
          k = mix(k ^ mix(static_cast<std::uint64_t>(c)));
        }
        const std::uint64_t draw = feature % 2 == 0 ? k & 0xffffffff : k >> 32;
        ASSERT_EQ(mask[b][t][d].item<bool>(), static_cast<double>(draw) >= p * 0x1.0p32) << b << " " << t << " " << d;
      }
    }
  }
}

TEST(Dropout, WideRowsAndOddOffsetsAgree) {
  // Wider than the kernel's chunk, at both parities of the first feature.
  for (const std::int64_t width : {511, 512, 513, 1537}) {
    for (const std::int64_t offset : {0, 7}) {
      const DropoutKeys keys = keys_of({1, 2});
      const at::Tensor out = dropout(at::ones({2, width}), 0.5, keys, 1, Site::down, offset);
      EXPECT_TRUE(out.ne(0).equal(dropout_mask({2, width}, 0.5, keys, 1, Site::down, offset))) << width << " " << offset;
    }
  }
}

TEST(Dropout, OddLayoutsTakeTheTensorPathWithTheSameResult) {
  const DropoutKeys keys = keys_of({5, 6});
  const at::Tensor x = at::randn({2, 8, 12});
  const at::Tensor half = x.to(at::kHalf);
  EXPECT_TRUE(dropout(half, 0.5, keys, 0, Site::query).ne(0).equal(dropout_mask(x.sizes(), 0.5, keys, 0, Site::query)));
  const at::Tensor transposed = x.transpose(1, 2).contiguous().transpose(1, 2);
  EXPECT_TRUE(dropout(transposed, 0.5, keys, 0, Site::query).equal(dropout(x, 0.5, keys, 0, Site::query)));
}

TEST(Dropout, KeepsTheWantedShare) {
  const double p = 0.1;
  const at::Tensor out = dropout(at::ones({4, 500, 50}), p, keys_of({1, 2, 3, 4}), 2, Site::mlp);
  EXPECT_NEAR(out.ne(0).to(at::kDouble).mean().item<double>(), 1 - p, 5 * std::sqrt(p * (1 - p) / 1e5));
  // Each counter matters.
  const auto mask = [&](std::int64_t layer, Site site) { return dropout_mask({1, 1, 1000}, 0.5, keys_of({1}), layer, site); };
  EXPECT_GT(mask(0, Site::query).ne(mask(1, Site::query)).sum().item<std::int64_t>(), 400);
  EXPECT_GT(mask(0, Site::query).ne(mask(0, Site::key)).sum().item<std::int64_t>(), 400);
  const at::Tensor tokens = dropout_mask({1, 2, 1000}, 0.5, keys_of({1}), 0, Site::query)[0];
  EXPECT_GT(tokens[0].ne(tokens[1]).sum().item<std::int64_t>(), 400);
}

TEST(Dropout, MaskDependsNeitherOnBatchNorOnSplitNorOnLayout) {
  const at::Tensor x = at::randn({3, 4, 10});
  const at::Tensor all = dropout(x, 0.4, keys_of({1, 2, 3}), 5, Site::down);
  EXPECT_TRUE(dropout(x.slice(0, 1, 2), 0.4, keys_of({2}), 5, Site::down).equal(all.slice(0, 1, 2)));
  EXPECT_TRUE(dropout(x.slice(2, 6, 10), 0.4, keys_of({1, 2, 3}), 5, Site::down, 6).equal(all.slice(2, 6, 10)));
  // Tokens laid end to end, of samples 1 (tokens 0, 1, 2), 2 (token 0) and 3 (tokens 0, 3).
  const std::vector<std::pair<std::int64_t, std::int64_t>> rows = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {2, 0}, {2, 3}};
  std::vector<at::Tensor> inputs, expected, sample_keys;
  std::vector<std::int64_t> tokens;
  const at::Tensor batch_keys = keys_of({1, 2, 3}).sample_keys_B;
  for (const auto& [b, t] : rows) {
    inputs.push_back(x[b][t]);
    expected.push_back(all[b][t]);
    sample_keys.push_back(batch_keys[b]);
    tokens.push_back(t);
  }
  const DropoutKeys packed{at::stack(sample_keys), torch::tensor(tokens)};
  EXPECT_TRUE(dropout(at::stack(inputs), 0.4, packed, 5, Site::down).equal(at::stack(expected)));
  EXPECT_TRUE(dropout_mask({6, 10}, 0.4, packed, 5, Site::down).equal(at::stack(expected).ne(0)));
}

TEST(Dropout, GradientUsesTheSameMask) {
  const DropoutKeys keys = keys_of({1, 2});
  const at::Tensor x = at::randn({2, 6}, at::kDouble).requires_grad_();
  const at::Tensor y = dropout(x, 0.5, keys, 0, Site::fusion);
  const at::Tensor g = at::randn({2, 6}, at::kDouble);
  const at::Tensor dx = torch::autograd::grad({y}, {x}, {g})[0];
  EXPECT_TRUE(dx.allclose(g * dropout_mask({2, 6}, 0.5, keys, 0, Site::fusion) * 2, 0, 1e-15));
  // A gradient that is no dense tensor in memory.
  const at::Tensor expanded = torch::autograd::grad({dropout(x, 0.5, keys, 0, Site::fusion).sum()}, {x})[0];
  EXPECT_TRUE(expanded.equal(dropout_mask({2, 6}, 0.5, keys, 0, Site::fusion).to(at::kDouble) * 2));
}

TEST(Dropout, AddsToATarget) {
  const DropoutKeys keys = keys_of({1, 2});
  const at::Tensor x = at::randn({2, 33}), target = at::randn({2, 33});
  const at::Tensor expected = target + dropout(x, 0.5, keys, 3, Site::query);
  add_dropout_(target, x, 0.5, keys, 3, Site::query);
  EXPECT_TRUE(target.equal(expected));
}

TEST(Dropout, WithoutKeysOrProbabilityNothingHappens) {
  const at::Tensor x = at::randn({2, 3});
  EXPECT_TRUE(dropout(x, 0.5, {}, 0, Site::query).is_same(x));
  EXPECT_TRUE(dropout(x, 0, keys_of({1, 2}), 0, Site::query).is_same(x));
}

TEST(Dropout, RefusesWhatDoesNotFit) {
  const at::Tensor x = at::randn({2, 3});
  EXPECT_THROW(dropout(x, 1.0, keys_of({1, 2}), 0, Site::query), std::logic_error);
  EXPECT_THROW(dropout(x, 0.5, keys_of({1}), 0, Site::query), std::logic_error);
  EXPECT_THROW(dropout(x, 0.5, {at::zeros({2})}, 0, Site::query), std::logic_error);
}

}  // namespace
}  // namespace medfuse::ops
