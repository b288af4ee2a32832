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

at::Tensor LabBlock::attended(const at::Tensor& x_BTW, const at::Tensor& mask_BT) {
  return recompute_if(recompute_ == Recompute::attention, {attention_norm_.ptr(), attention_}, x_BTW,
                      [norm = attention_norm_.ptr(), attention = attention_, mask_BT](const at::Tensor& x) {
                        const at::Tensor normed = norm->forward(x);
                        return attention->forward(normed, normed, mask_BT);
                      });
}

at::Tensor LabBlock::forward(const at::Tensor& x_BTW, const at::Tensor& mask_BT, const ops::DropoutKeys& keys) {
  return recompute_if(recompute_ == Recompute::full, {shared_from_this()}, x_BTW,
                      [this, mask_BT, keys](const at::Tensor& x) {
                        const auto drop = [&](const at::Tensor& y, ops::Site site) {
                          return ops::dropout(y, dropout_, keys, layer_, site);
                        };
                        const at::Tensor middle = x + drop(attended(x, mask_BT), ops::Site::attention);
                        return middle + drop(mlp_out_(at::gelu(mlp_in_(mlp_norm_(middle)))), ops::Site::mlp);
                      });
}

}  // namespace medfuse::model
