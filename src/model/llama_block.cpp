#include "src/model/llama_block.h"

#include <algorithm>

#include "src/ops/rms_norm.h"
#include "src/ops/rotary.h"
#include "src/ops/swiglu.h"

namespace medfuse::model {

namespace {

std::string layer_prefix(std::int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

/// Outputs [rows] and inputs [columns] of one whole projection, and how it is split.
struct ProjectionShape {
  std::int64_t rows;
  std::int64_t columns;
  Split split;
  Span span;  ///< of the rows (column parallel) or the columns (row parallel)
  int copies = 1;
};

/// Builds this rank's share of one projection and registers it under the last part of its name.
std::shared_ptr<LoraLinear> add_projection(torch::nn::Module& module, const LlamaBuild& build, std::int64_t layer,
                                           bool adapted, const std::string& part, const std::string& target,
                                           const ProjectionShape& shape, ops::Site site) {
  const std::string name = layer_prefix(layer) + part + "." + target;
  at::Tensor weight = build.source(
      {name + ".weight", {shape.rows, shape.columns}, shape.split == Split::row ? 1 : 0, shape.span});
  const auto& targets = build.lora.targets;
  const bool chosen = adapted && std::find(targets.begin(), targets.end(), target) != targets.end();
  const LoraShare share{build.ranks, shape.split, shape.span, shape.copies};
  auto projection = chosen ? std::make_shared<LoraLinear>(std::move(weight), build.lora,
                                                          LoraPlace{build.seed, name, layer, site}, share)
                           : std::make_shared<LoraLinear>(std::move(weight), share);
  return module.register_module(target, projection);
}

/// Heads in features.
Span features_of(const Span& heads, std::int64_t head_dim) {
  return {heads.begin * head_dim, heads.length * head_dim, heads.global * head_dim};
}

/// [1, heads, rows, head_dim] view of rows [rows, heads, head_dim].
at::Tensor by_head(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

/// Attention of each sample alone: q [Tq, H, F], k and v [T, K, F] -> [Tq, H * F]. Samples never see each other, so no
/// mask is needed and no padding is computed.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LlamaSequence& sequence,
                  bool last_only) {
  const auto& lengths = sequence.lengths;
  const auto queries = last_only ? q.split(1, 0) : q.split_with_sizes(lengths, 0);
  const auto keys = k.split_with_sizes(lengths, 0);
  const auto values = v.split_with_sizes(lengths, 0);
  std::vector<at::Tensor> outputs;
  outputs.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    // The last row sees every key: nothing is hidden from it.
    const at::Tensor o = at::scaled_dot_product_attention(by_head(queries[i]), by_head(keys[i]), by_head(values[i]), {}, 0,
                                                          !last_only, std::nullopt, true);
    outputs.push_back(o.squeeze(0).transpose(0, 1).flatten(1));
  }
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 0);
}

}  // namespace

LlamaNorm::LlamaNorm(at::Tensor weight_D, double epsilon) : epsilon_(epsilon) {
  weight_D_ = register_buffer("weight", std::move(weight_D));
}

at::Tensor LlamaNorm::forward(const at::Tensor& x) const { return ops::rms_norm(x, weight_D_, epsilon_); }

LlamaAttention::LlamaAttention(const LlamaBuild& build, std::int64_t layer, bool adapted)
    : head_dim_(build.config.head_dim) {
  const Span heads = equal_share(build.config.num_attention_heads, *build.ranks);
  const Span key_heads = head_share(build.config.num_key_value_heads, *build.ranks);
  const int copies = static_cast<int>(build.ranks->size * key_heads.length / key_heads.global);
  heads_ = heads.length;
  key_heads_ = key_heads.length;
  const std::int64_t width = build.config.hidden_size;
  const Span queries = features_of(heads, head_dim_);
  const Span keys = features_of(key_heads, head_dim_);
  const auto add = [&](const char* target, const ProjectionShape& shape, ops::Site site) {
    return add_projection(*this, build, layer, adapted, "self_attn", target, shape, site);
  };
  q_ = add("q_proj", {queries.global, width, Split::column, queries}, ops::Site::query);
  k_ = add("k_proj", {keys.global, width, Split::column, keys, copies}, ops::Site::key);
  v_ = add("v_proj", {keys.global, width, Split::column, keys, copies}, ops::Site::value);
  o_ = add("o_proj", {width, queries.global, Split::row, queries}, ops::Site::output);
}

at::Tensor LlamaAttention::forward(const at::Tensor& x_TD, const LlamaSequence& sequence) {
  const LlamaRows& rows = sequence.all;
  const auto projected = project(x_TD, {q_.get(), k_.get(), v_.get()}, rows.own_keys, rows.share);
  const at::Tensor q = ops::rotary(projected[0].view({-1, heads_, head_dim_}), rows.cos_NF, rows.sin_NF);
  const at::Tensor k = ops::rotary(projected[1].view({-1, key_heads_, head_dim_}), rows.cos_NF, rows.sin_NF);
  const at::Tensor v = projected[2].view({-1, key_heads_, head_dim_});
  return project(attend(q, k, v, sequence, false), {o_.get()}, rows.keys, rows.share)[0];
}

at::Tensor LlamaAttention::forward_last(const at::Tensor& x_TD, const LlamaSequence& sequence) {
  const LlamaRows& all = sequence.all;
  const LlamaRows& last = sequence.last;
  const auto projected = project(x_TD, {k_.get(), v_.get()}, all.keys);
  const at::Tensor query = project(x_TD.index_select(0, sequence.last_B), {q_.get()}, last.keys)[0];
  const at::Tensor q = ops::rotary(query.view({-1, heads_, head_dim_}), last.cos_NF, last.sin_NF);
  const at::Tensor k = ops::rotary(projected[0].view({-1, key_heads_, head_dim_}), all.cos_NF, all.sin_NF);
  const at::Tensor v = projected[1].view({-1, key_heads_, head_dim_});
  return project(attend(q, k, v, sequence, true), {o_.get()}, last.keys)[0];
}

LlamaMlp::LlamaMlp(const LlamaBuild& build, std::int64_t layer, bool adapted) {
  const std::int64_t width = build.config.hidden_size;
  const Span inner = equal_share(build.config.intermediate_size, *build.ranks);
  const auto add = [&](const char* target, const ProjectionShape& shape, ops::Site site) {
    return add_projection(*this, build, layer, adapted, "mlp", target, shape, site);
  };
  gate_ = add("gate_proj", {inner.global, width, Split::column, inner}, ops::Site::gate);
  up_ = add("up_proj", {inner.global, width, Split::column, inner}, ops::Site::up);
  down_ = add("down_proj", {width, inner.global, Split::row, inner}, ops::Site::down);
}

at::Tensor LlamaMlp::forward(const at::Tensor& x_ND, const LlamaRows& rows) {
  const auto projected = project(x_ND, {gate_.get(), up_.get()}, rows.own_keys, rows.share);
  return project(ops::swiglu(projected[0], projected[1]), {down_.get()}, rows.keys, rows.share)[0];
}

LlamaBlock::LlamaBlock(const LlamaBuild& build, std::int64_t layer, bool adapted) {
  const auto add_norm = [&](const char* name) {
    const at::Tensor weight = build.source({layer_prefix(layer) + name + ".weight", {build.config.hidden_size}, 0, {}});
    return register_module(name, std::make_shared<LlamaNorm>(weight, build.config.rms_norm_eps));
  };
  input_norm_ = add_norm("input_layernorm");
  attention_ = register_module("self_attn", std::make_shared<LlamaAttention>(build, layer, adapted));
  mlp_norm_ = add_norm("post_attention_layernorm");
  mlp_ = register_module("mlp", std::make_shared<LlamaMlp>(build, layer, adapted));
}

at::Tensor LlamaBlock::attended(const at::Tensor& x_TD, const LlamaSequence& sequence, bool last_only) {
  return recompute_if(recompute_ == Recompute::attention, {input_norm_, attention_}, x_TD,
                      [norm = input_norm_, attention = attention_, sequence, last_only](const at::Tensor& x) {
                        const at::Tensor normed_TD = norm->forward(x);
                        return last_only ? attention->forward_last(normed_TD, sequence)
                                         : attention->forward(normed_TD, sequence);
                      });
}

at::Tensor LlamaBlock::forward(const at::Tensor& x_TD, const LlamaSequence& sequence) {
  return recompute_if(recompute_ == Recompute::full, {shared_from_this()}, x_TD, [this, sequence](const at::Tensor& x) {
    const at::Tensor middle_TD = x + attended(x, sequence, false);
    return middle_TD + mlp_->forward(mlp_norm_->forward(middle_TD), sequence.all);
  });
}

at::Tensor LlamaBlock::forward_last(const at::Tensor& x_TD, const LlamaSequence& sequence) {
  return recompute_if(recompute_ == Recompute::full, {shared_from_this()}, x_TD, [this, sequence](const at::Tensor& x) {
    const at::Tensor attended_BD = attended(x, sequence, true);
    const at::Tensor middle_BD = x.index_select(0, sequence.last_B) + attended_BD;
    return middle_BD + mlp_->forward(mlp_norm_->forward(middle_BD), sequence.last);
  });
}

}  // namespace medfuse::model
