#include "src/model/fusion.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace medfuse::model {
namespace {

constexpr std::int64_t kText = 24, kLab = 12, kLabs = 6, kDiseases = 3, kRows = 5;

FusionOptions small_options(const std::string& views = "both") {
  FusionOptions options;
  options.tokens = 4;
  options.width = 8;
  options.heads = 2;
  options.kronecker = 3;
  options.dropout = 0.2;
  options.views = views;
  return options;
}

std::shared_ptr<Fusion> small_fusion(const std::string& views = "both") {
  auto fusion = std::make_shared<Fusion>(small_options(views), kText, kLab, kDiseases, 1);
  fusion->to(torch::kDouble);
  return fusion;
}

struct Inputs {
  at::Tensor text, labs, mask;
  ops::DropoutKeys keys;
};

Inputs inputs() {
  torch::manual_seed(2);
  Inputs in;
  in.text = torch::randn({kRows, kText}, torch::kDouble) * 3;
  in.labs = torch::randn({kRows, 1 + kLabs, kLab}, torch::kDouble);
  in.mask = torch::rand({kRows, 1 + kLabs}) < 0.6;
  in.mask.select(1, 0).fill_(true);
  in.mask[0].narrow(0, 1, kLabs).fill_(false);
  std::vector<std::int64_t> keys;
  for (std::uint64_t id = 0; id < kRows; ++id) keys.push_back(static_cast<std::int64_t>(key({1, 2, 3, id})));
  in.keys.sample_keys_B = torch::tensor(keys);
  return in;
}

at::Tensor linear(const torch::OrderedDict<std::string, at::Tensor>& p, const std::string& name, const at::Tensor& x) {
  const at::Tensor y = x.matmul(p[name + ".weight"].t());
  return p.contains(name + ".bias") ? y + p[name + ".bias"] : y;
}

at::Tensor norm(const torch::OrderedDict<std::string, at::Tensor>& p, const std::string& name, const at::Tensor& x) {
  const at::Tensor centred = x - x.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + 1e-5).sqrt() * p[name + ".weight"] + p[name + ".bias"];
}

// One sample, one head and one query at a time. query [Q, E], memory [T, E] (only the tokens that may be seen).
at::Tensor attend(const torch::OrderedDict<std::string, at::Tensor>& p, const std::string& name, const at::Tensor& query,
                  const at::Tensor& memory, std::int64_t heads) {
  const at::Tensor q = linear(p, name + ".query", query), k = linear(p, name + ".key", memory),
                   v = linear(p, name + ".value", memory);
  const std::int64_t width = q.size(1) / heads;
  at::Tensor mixed = torch::zeros_like(q);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t i = 0; i < q.size(0); ++i) {
      std::vector<double> weights;
      double sum = 0;
      for (std::int64_t j = 0; j < k.size(0); ++j) {
        const double score =
            q[i].narrow(0, head * width, width).dot(k[j].narrow(0, head * width, width)).item<double>();
        weights.push_back(std::exp(score / std::sqrt(double(width))));
        sum += weights.back();
      }
      for (std::int64_t j = 0; j < k.size(0); ++j) {
        mixed[i].narrow(0, head * width, width) += weights[j] / sum * v[j].narrow(0, head * width, width);
      }
    }
  }
  return linear(p, name + ".output", mixed);
}

at::Tensor gelu_by_hand(const at::Tensor& x) { return 0.5 * x * (1 + torch::erf(x / std::sqrt(2.0))); }

TEST(Fusion, EqualsTheFormulasSampleBySample) {
  const torch::NoGradGuard no_grad;
  const auto fusion = small_fusion();
  const Inputs in = inputs();
  const FusionOutput output = fusion->forward(in.text, in.labs, in.mask);
  const auto p = fusion->named_parameters();
  for (std::int64_t row = 0; row < kRows; ++row) {
    const at::Tensor a =
        norm(p, "text_token_norm", linear(p, "text_projection", norm(p, "text_norm", in.text[row])).view({4, 8}));
    const at::Tensor seen = norm(p, "lab_norm", in.labs[row].index({in.mask[row]}));
    const at::Tensor b = norm(p, "lab_token_norm", attend(p, "lab_pool", p["lab_queries"], seen, 2));
    const at::Tensor self_a = norm(p, "text_self_norm", a + attend(p, "text_self", a, a, 2));
    const at::Tensor self_b = norm(p, "lab_self_norm", b + attend(p, "lab_self", b, b, 2));
    const at::Tensor factors =
        torch::kron(linear(p, "text_factor", a), linear(p, "lab_factor", b));  // [4 * 4, 3 * 3]
    const at::Tensor c = norm(p, "pair_norm", linear(p, "pair_projection", factors));
    const at::Tensor shared =
        norm(p, "shared_norm", attend(p, "cross", norm(p, "query_norm", self_a + self_b), c, 2));
    at::Tensor h = torch::cat({gelu_by_hand(linear(p, "text_feature", self_a)).flatten(), shared.flatten(),
                               gelu_by_hand(linear(p, "lab_feature", self_b)).flatten()});
    h = torch::cat({h, gelu_by_hand(linear(p, "hidden1", h))});
    h = torch::cat({h, gelu_by_hand(linear(p, "hidden2", h))});
    EXPECT_LT((linear(p, "head", h) - output.logits_BK[row]).abs().max().item<double>(), 1e-11) << row;
    EXPECT_LT((shared.flatten() - output.shared_BG[row]).abs().max().item<double>(), 1e-11) << row;
    EXPECT_LT((torch::cat({self_a.flatten(), self_b.flatten()}) - output.specific_BF[row]).abs().max().item<double>(),
              1e-11)
        << row;
  }
}

TEST(Fusion, EveryQueryAndKeyWeightLearns) {
  const auto fusion = small_fusion();
  const Inputs in = inputs();
  const FusionOutput output = fusion->forward(in.text, in.labs, in.mask);
  torch::binary_cross_entropy_with_logits(output.logits_BK, torch::ones_like(output.logits_BK) * 0.25).backward();
  int attention_weights = 0;
  for (const auto& parameter : fusion->named_parameters()) {
    const at::Tensor gradient = parameter.value().grad();
    ASSERT_TRUE(gradient.defined()) << parameter.key();
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << parameter.key();
    EXPECT_GT(gradient.abs().max().item<double>(), 1e-9) << parameter.key();
    if (parameter.key().ends_with("query.weight") || parameter.key().ends_with("key.weight")) {
      ++attention_weights;
      // A constant softmax would leave rounding noise near 1e-18.
      EXPECT_GT(gradient.abs().min().item<double>(), 1e-12) << parameter.key();
    }
    EXPECT_FALSE(parameter.key().ends_with("key.bias")) << parameter.key();
  }
  EXPECT_EQ(attention_weights, 2 * 4);
}

TEST(Fusion, GradientsAreThoseOfDifferences) {
  const auto fusion = small_fusion();
  const Inputs in = inputs();
  const auto loss = [&] {
    const FusionOutput output = fusion->forward(in.text, in.labs, in.mask, in.keys);
    return output.logits_BK.square().mean() + output.shared_BG.sin().mean() + output.specific_BF.sin().mean();
  };
  loss().backward();
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : fusion->named_parameters()) {
    const at::Tensor flat = parameter.value().view(-1), slopes = parameter.value().grad().view(-1);
    const std::int64_t at = slopes.abs().argmax().item<std::int64_t>();
    const double step = 1e-6, value = flat[at].item<double>(), slope = slopes[at].item<double>();
    flat[at] = value + step;
    const double above = loss().item<double>();
    flat[at] = value - step;
    const double below = loss().item<double>();
    flat[at] = value;
    EXPECT_NEAR((above - below) / (2 * step), slope, 1e-7 + 1e-5 * std::abs(slope)) << parameter.key();
  }
}

TEST(Fusion, RowsDoNotDependOnTheirBatch) {
  const torch::NoGradGuard no_grad;
  const auto fusion = small_fusion();
  const Inputs in = inputs();
  const FusionOutput together = fusion->forward(in.text, in.labs, in.mask, in.keys);
  EXPECT_GT((together.logits_BK - fusion->forward(in.text, in.labs, in.mask).logits_BK).abs().max().item<double>(),
            1e-3)
      << "no dropout";
  for (std::int64_t row = 0; row < kRows; ++row) {
    const auto one = [&](const at::Tensor& t) { return t.narrow(0, row, 1); };
    const FusionOutput alone =
        fusion->forward(one(in.text), one(in.labs), one(in.mask), {one(in.keys.sample_keys_B)});
    EXPECT_LT((alone.logits_BK[0] - together.logits_BK[row]).abs().max().item<double>(), 1e-12) << row;
    EXPECT_LT((alone.shared_BG[0] - together.shared_BG[row]).abs().max().item<double>(), 1e-12) << row;
  }
  const FusionOutput none = fusion->forward(in.text.narrow(0, 0, 0), in.labs.narrow(0, 0, 0), in.mask.narrow(0, 0, 0));
  EXPECT_EQ(none.logits_BK.sizes(), (std::vector<std::int64_t>{0, kDiseases}));
}

TEST(Fusion, MaskedLabTokensChangeNothing) {
  const torch::NoGradGuard no_grad;
  const auto fusion = small_fusion();
  const Inputs in = inputs();
  const at::Tensor expected = fusion->forward(in.text, in.labs, in.mask).logits_BK;
  const at::Tensor changed = at::where(in.mask.unsqueeze(2), in.labs, 1e3);
  EXPECT_LT((fusion->forward(in.text, changed, in.mask).logits_BK - expected).abs().max().item<double>(), 1e-12);
}

TEST(Fusion, SingleViewsUseTheirInputOnly) {
  const Inputs in = inputs();
  const auto text = small_fusion("text"), labs = small_fusion("labs");
  const FusionOutput text_output = text->forward(in.text, {}, {});
  const FusionOutput lab_output = labs->forward({}, in.labs, in.mask);
  EXPECT_FALSE(text_output.shared_BG.defined());
  EXPECT_FALSE(lab_output.shared_BG.defined());
  EXPECT_EQ(text_output.specific_BF.size(1), text->specific_width());
  EXPECT_EQ(lab_output.specific_BF.size(1), labs->specific_width());
  for (const auto& [fusion, output, other] :
       {std::tuple{text, text_output, "lab_"}, std::tuple{labs, lab_output, "text_"}}) {
    output.logits_BK.sum().backward();
    for (const auto& parameter : fusion->named_parameters()) {
      EXPECT_FALSE(parameter.key().starts_with(other)) << parameter.key();
      EXPECT_GT(parameter.value().grad().abs().sum().item<double>(), 0.0) << parameter.key();
    }
  }
  const auto both = small_fusion();
  const FusionOutput output = both->forward(in.text, in.labs, in.mask);
  EXPECT_EQ(output.specific_BF.size(1), both->specific_width());
  EXPECT_EQ(output.shared_BG.size(1), both->shared_width());
}

TEST(Fusion, RefusesOptionsOutOfRange) {
  const auto with = [](auto change) {
    FusionOptions options = small_options();
    change(options);
    Fusion fusion(options, kText, kLab, kDiseases, 1);
  };
  EXPECT_THROW(with([](FusionOptions& o) { o.tokens = 3; }), Error);
  EXPECT_THROW(with([](FusionOptions& o) { o.heads = 3; }), Error);
  EXPECT_THROW(with([](FusionOptions& o) { o.views = "notes"; }), Error);
  EXPECT_THROW(with([](FusionOptions& o) { o.kronecker = 0; }), Error);
  EXPECT_THROW(with([](FusionOptions& o) { o.dropout = 1.0; }), Error);
}

}  // namespace
}  // namespace medfuse::model
