// The fused operations against the plain formulas: values, gradients, types, odd widths, extreme inputs, threads.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>

#include "src/ops/kernels.h"
#include "src/ops/rms_norm.h"
#include "src/ops/rotary.h"
#include "src/ops/rows.h"
#include "src/ops/swiglu.h"

namespace medfuse::ops {
namespace {

using Operation = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

double worst(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.scalar_type(), b.scalar_type());
  EXPECT_EQ(a.sizes(), b.sizes());
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).abs().max() / (1e-30 + wide.abs().max())).item<double>();
}

/// Value and gradient by every input of both, relative to the largest element.
void expect_same(const Operation& fused, const Operation& plain, const std::vector<at::Tensor>& inputs, double tolerance) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const at::Tensor a = fused(leaves);
  const at::Tensor b = plain(leaves);
  EXPECT_LE(worst(a, b), tolerance);
  const at::Tensor g = at::randn_like(a);
  const auto da = torch::autograd::grad({a}, leaves, {g});
  const auto db = torch::autograd::grad({b}, leaves, {g});
  for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LE(worst(da[i], db[i]), tolerance) << "input " << i;
}

double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-14 : type == at::kFloat ? 2e-6 : type == at::kHalf ? 2e-3 : 1.6e-2;
}

/// float16 has no kernel on a CPU: it goes the way that every type goes on a GPU.
const at::ScalarType types[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf};

TEST(RmsNorm, EqualsThePlainFormula) {
  torch::manual_seed(1);
  for (const at::ScalarType type : types) {
    for (const std::int64_t width : {2, 7, 16, 33, 576}) {
      const Operation fused = [](const auto& in) { return rms_norm(in[0], in[1], 1e-5); };
      const Operation plain = [](const auto& in) { return rms_norm_plain(in[0], in[1], 1e-5); };
      expect_same(fused, plain, {at::randn({3, 4, width}, type), 1 + at::rand({width}, type)}, tolerance(type));
    }
  }
}

TEST(RmsNorm, ZeroRowsStayZero) {
  const at::Tensor x = at::zeros({2, 8}).requires_grad_();
  const at::Tensor y = rms_norm(x, at::ones({8}), 1e-6);
  EXPECT_EQ(y.abs().max().item<float>(), 0);
  y.sum().backward();
  EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
}

TEST(Rotary, EqualsThePlainFormula) {
  torch::manual_seed(2);
  for (const at::ScalarType type : types) {
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    for (const std::int64_t half : {1, 5, 32}) {
      const at::Tensor angles = at::randn({6, half}, wide) * 3;
      const at::Tensor cos = angles.cos(), sin = angles.sin();
      const Operation fused = [&](const auto& in) { return rotary(in[0], cos, sin); };
      const Operation plain = [&](const auto& in) { return rotary_plain(in[0], cos, sin); };
      expect_same(fused, plain, {at::randn({6, 3, 2 * half}, type)}, tolerance(type));
    }
  }
}

TEST(Swiglu, EqualsThePlainFormula) {
  torch::manual_seed(3);
  for (const at::ScalarType type : types) {
    const Operation fused = [](const auto& in) { return swiglu(in[0], in[1]); };
    const Operation plain = [](const auto& in) { return swiglu_plain(in[0], in[1]); };
    expect_same(fused, plain, {at::randn({5, 67}, type) * 4, at::randn({5, 67}, type)}, tolerance(type));
  }
}

TEST(Swiglu, HoldsElementwiseOverTheWholeRange) {
  const at::Tensor gate = at::linspace(-59, 80, 16001, at::kFloat).requires_grad_();
  const at::Tensor ones = at::ones_like(gate);
  const at::Tensor y = swiglu(gate, ones);
  const at::Tensor g = gate.detach().to(at::kDouble);
  const at::Tensor expected = g * g.sigmoid();
  EXPECT_LE(((y.to(at::kDouble) - expected).abs() / expected.abs().clamp_min(1e-30)).max().item<double>(), 1e-6);
  const at::Tensor extreme = torch::tensor({-1e4f, -200.0f, 200.0f, 1e4f, std::nanf("")});
  const at::Tensor values = swiglu(extreme, at::ones_like(extreme));
  EXPECT_NEAR(values[0].item<float>(), 0, 1e-21);
  EXPECT_NEAR(values[1].item<float>(), 0, 1e-23);
  EXPECT_EQ(values[2].item<float>(), 200);
  EXPECT_EQ(values[3].item<float>(), 1e4f);
  EXPECT_TRUE(std::isnan(values[4].item<float>()));
}

TEST(Bfloat16, RoundsAsTorchDoes) {
  const at::Tensor wide = at::cat({at::randn({4096}) * 1e3, torch::tensor({1.00390625f, 1.01171875f, 3.3895e38f})});
  const at::Tensor up = wide.to(at::kBFloat16);
  // gate * sigmoid(gate) is exactly 64 for gate 64 in float32, so the product rounds once.
  EXPECT_TRUE(swiglu(at::full_like(up, 64), up).equal(swiglu_plain(at::full_like(up, 64), up)));
}

#ifdef MEDFUSE_HAVE_AVX2
TEST(Kernels, InstructionSetsGiveTheSameBits) {
  if (!kernels::use_avx2()) GTEST_SKIP() << "this processor has no AVX2";
  const std::int64_t rows = 5, width = 83;
  const at::Tensor x = at::randn({rows, width}) * 3, g = at::randn({rows, width}) * 3, w = at::randn({width});
  at::Tensor a = at::empty_like(x), b = at::empty_like(x), c = at::empty_like(x), d = at::empty_like(x);
  at::Tensor ia = at::empty({rows}), ib = at::empty({rows});
  const auto in = [](const at::Tensor& t) { return t.const_data_ptr<float>(); };
  const auto out = [](const at::Tensor& t) { return t.mutable_data_ptr<float>(); };
  kernels::baseline::rms_norm(out(a), out(ia), in(x), in(w), 1e-5, 0, rows, width);
  kernels::avx2::rms_norm(out(b), out(ib), in(x), in(w), 1e-5, 0, rows, width);
  EXPECT_TRUE(a.equal(b) && ia.equal(ib));
  kernels::baseline::rms_norm_backward(out(a), in(g), in(ia), in(x), in(w), 0, rows, width);
  kernels::avx2::rms_norm_backward(out(b), in(g), in(ia), in(x), in(w), 0, rows, width);
  EXPECT_TRUE(a.equal(b));
  kernels::baseline::swiglu(out(a), in(x), in(g), x.numel());
  kernels::avx2::swiglu(out(b), in(x), in(g), x.numel());
  EXPECT_TRUE(a.equal(b));
  kernels::baseline::swiglu_backward(out(a), out(c), in(x), in(g), in(x), x.numel());
  kernels::avx2::swiglu_backward(out(b), out(d), in(x), in(g), in(x), x.numel());
  EXPECT_TRUE(a.equal(b) && c.equal(d));
}
#endif

TEST(ParallelRows, ThreadsCoverEachRowOnceAndChangeNothing) {
  const int threads = at::get_num_threads();
  const at::Tensor x = at::randn({512, 576}), w = at::randn({576});
  at::set_num_threads(1);
  const at::Tensor one = rms_norm(x, w, 1e-5);
  at::set_num_threads(2);
  const at::Tensor two = rms_norm(x, w, 1e-5);
  std::vector<std::atomic<int>> hits(1000);
  std::atomic<int> calls = 0;
  parallel_rows(1000, 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    ++calls;
    for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
  });
  at::set_num_threads(threads);
  EXPECT_TRUE(one.equal(two));
  EXPECT_EQ(calls, 2) << "two threads share the rows";
  for (const auto& count : hits) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace medfuse::ops
