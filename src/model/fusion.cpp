#include "src/model/fusion.h"

#include "base/error.h"
#include "src/model/seed.h"

namespace medfuse::model {

namespace {

// Numbers that tell the dropout masks of the fusion's places apart.
enum Place : std::int64_t { text_attention = 0, lab_attention, shared_attention, text_feature, lab_feature, dense };

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

void check(const FusionOptions& options) {
  if (options.views != "both" && options.views != "text" && options.views != "labs") {
    usage_error("fusion.views: '{}' is none of both, text, labs", options.views);
  }
  if (options.tokens < 4) {
    usage_error("fusion.tokens: {} is below 4; attention over few tokens can tell nothing apart", options.tokens);
  }
  if (options.width < 1) usage_error("fusion.width: {} is below 1", options.width);
  if (options.kronecker < 1) usage_error("fusion.kronecker: {} is below 1", options.kronecker);
  if (!(options.dropout >= 0.0 && options.dropout < 1.0)) {
    usage_error("fusion.dropout: {} is outside [0, 1)", options.dropout);
  }
}

}  // namespace

std::int64_t Fusion::specific_width() const { return (uses_both() ? 2 : 1) * options_.tokens * options_.width; }

std::int64_t Fusion::shared_width() const { return uses_both() ? options_.tokens * options_.width : 0; }

Fusion::Fusion(const FusionOptions& options, std::int64_t text_width, std::int64_t lab_width, std::int64_t diseases,
               std::uint64_t seed)
    : options_(options) {
  check(options);
  const std::int64_t tokens = options.tokens;
  const std::int64_t width = options.width;
  const auto attention = [&](std::int64_t memory_width) {
    return std::make_shared<TokenAttention>(width, memory_width, width, options.heads, "fusion.heads");
  };
  if (uses_text()) {
    text_norm_ = register_module("text_norm", layer_norm(text_width));
    text_projection_ = register_module("text_projection", torch::nn::Linear(text_width, tokens * width));
    text_token_norm_ = register_module("text_token_norm", layer_norm(width));
    text_self_ = register_module("text_self", attention(width));
    text_self_norm_ = register_module("text_self_norm", layer_norm(width));
    text_feature_ = register_module("text_feature", torch::nn::Linear(width, width));
  }
  if (uses_labs()) {
    lab_norm_ = register_module("lab_norm", layer_norm(lab_width));
    lab_queries_TF_ = register_parameter("lab_queries", torch::empty({tokens, width}));
    lab_pool_ = register_module("lab_pool", attention(lab_width));
    lab_token_norm_ = register_module("lab_token_norm", layer_norm(width));
    lab_self_ = register_module("lab_self", attention(width));
    lab_self_norm_ = register_module("lab_self_norm", layer_norm(width));
    lab_feature_ = register_module("lab_feature", torch::nn::Linear(width, width));
  }
  if (uses_both()) {
    const std::int64_t factor = options.kronecker;
    text_factor_ = register_module("text_factor", torch::nn::Linear(width, factor));
    lab_factor_ = register_module("lab_factor", torch::nn::Linear(width, factor));
    pair_projection_ = register_module("pair_projection", torch::nn::Linear(factor * factor, width));
    pair_norm_ = register_module("pair_norm", layer_norm(width));
    query_norm_ = register_module("query_norm", layer_norm(width));
    cross_ = register_module("cross", attention(width));
    shared_norm_ = register_module("shared_norm", layer_norm(width));
  }
  const std::int64_t dense_width = tokens * width;
  const std::int64_t features = (uses_both() ? 3 : 1) * dense_width;
  hidden1_ = register_module("hidden1", torch::nn::Linear(features, dense_width));
  hidden2_ = register_module("hidden2", torch::nn::Linear(features + dense_width, dense_width));
  head_ = register_module("head", torch::nn::Linear(features + 2 * dense_width, diseases));
  seed_parameters(*this, seed, "fusion.");
  // Queries of unit size, so that they ask different things from the start.
  if (uses_labs()) seed_normal(lab_queries_TF_, 1.0, seed, "fusion.lab_queries");
}

at::Tensor Fusion::text_tokens(const at::Tensor& text_BD) {
  const at::Tensor text = text_norm_(text_BD.to(text_projection_->weight.scalar_type()));
  return text_token_norm_(text_projection_(text).view({text.size(0), options_.tokens, options_.width}));
}

at::Tensor Fusion::lab_tokens(const at::Tensor& lab_tokens_BTW, const at::Tensor& lab_mask_BT) {
  const at::Tensor tokens = lab_norm_(lab_tokens_BTW.to(lab_queries_TF_.scalar_type()));
  const at::Tensor queries = lab_queries_TF_.unsqueeze(0).expand({tokens.size(0), -1, -1});
  return lab_token_norm_(lab_pool_->forward(queries, tokens, lab_mask_BT));
}

at::Tensor Fusion::shared_tokens(const at::Tensor& a_BTF, const at::Tensor& b_BTF, const at::Tensor& query_BTF) {
  const at::Tensor a = text_factor_(a_BTF);
  const at::Tensor b = lab_factor_(b_BTF);
  // Row i * tokens + j, column p * kronecker + q of the Kronecker product is a[i][p] * b[j][q].
  const at::Tensor pairs = (a.unsqueeze(2).unsqueeze(4) * b.unsqueeze(1).unsqueeze(3)).flatten(3).flatten(1, 2);
  const at::Tensor memory = pair_norm_(pair_projection_(pairs));
  // No skip around this attention: S_C would then carry S_A + S_B as they are, and could never be apart from them.
  return cross_->forward(query_norm_(query_BTF), memory);
}

FusionOutput Fusion::forward(const at::Tensor& text_BD, const at::Tensor& lab_tokens_BTW, const at::Tensor& lab_mask_BT,
                             const ops::DropoutKeys& keys) {
  const auto drop = [&](const at::Tensor& x, Place place) {
    return ops::dropout(x, options_.dropout, keys, place, ops::Site::fusion);
  };
  FusionOutput output;
  at::Tensor a, b, self_a, self_b;
  std::vector<at::Tensor> features;
  if (uses_text()) {
    a = text_tokens(text_BD);
    self_a = text_self_norm_(a + drop(text_self_->forward(a, a), text_attention));
    features.push_back(drop(at::gelu(text_feature_(self_a)), text_feature).flatten(1));
  }
  if (uses_labs()) {
    b = lab_tokens(lab_tokens_BTW, lab_mask_BT);
    self_b = lab_self_norm_(b + drop(lab_self_->forward(b, b), lab_attention));
  }
  if (uses_both()) {
    const at::Tensor shared = shared_norm_(drop(shared_tokens(a, b, self_a + self_b), shared_attention));
    output.shared_BG = shared.flatten(1);
    output.specific_BF = at::cat({self_a.flatten(1), self_b.flatten(1)}, 1);
    features.push_back(output.shared_BG);
  } else {
    output.specific_BF = (uses_text() ? self_a : self_b).flatten(1);
  }
  if (uses_labs()) features.push_back(drop(at::gelu(lab_feature_(self_b)), lab_feature).flatten(1));

  features.push_back(drop(at::gelu(hidden1_(at::cat(features, 1))), dense));
  features.push_back(at::gelu(hidden2_(at::cat(features, 1))));
  output.logits_BK = head_(at::cat(features, 1));
  return output;
}

}  // namespace medfuse::model
