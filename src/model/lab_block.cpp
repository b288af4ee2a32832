#include "src/model/lab_block.h"

namespace medfuse::model {

LabBlock::LabBlock(std::int64_t width, std::int64_t heads, double dropout, std::int64_t layer)
    : dropout_(dropout), layer_(layer) {
  attention_norm_ = register_module("attention_norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  attention_ = register_module("attention", std::make_shared<TokenAttention>(width, width, width, heads, "labs.heads"));
  mlp_norm_ = register_module("mlp_norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  mlp_in_ = register_module("mlp_in", torch::nn::Linear(width, 4 * width));
  mlp_out_ = register_module("mlp_out", torch::nn::Linear(4 * width, width));
}

at::Tensor LabBlock::forward(const at::Tensor& x_BTW, const at::Tensor& mask_BT, const ops::DropoutKeys& keys) {
  const auto drop = [&](const at::Tensor& x, ops::Site site) { return ops::dropout(x, dropout_, keys, layer_, site); };
  const at::Tensor normed = attention_norm_(x_BTW);
  const at::Tensor x = x_BTW + drop(attention_->forward(normed, normed, mask_BT), ops::Site::attention);
  return x + drop(mlp_out_(at::gelu(mlp_in_(mlp_norm_(x)))), ops::Site::mlp);
}

}  // namespace medfuse::model
