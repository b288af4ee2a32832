#include "src/model/lab_attention.h"

#include "base/error.h"

namespace medfuse::model {

namespace {

// [B, L, heads * d] -> [B, heads, L, d]
at::Tensor split_heads(const at::Tensor& x_BLE, std::int64_t heads) {
  return x_BLE.view({x_BLE.size(0), x_BLE.size(1), heads, x_BLE.size(2) / heads}).transpose(1, 2);
}

}  // namespace

TokenAttention::TokenAttention(std::int64_t query_width, std::int64_t key_width, std::int64_t width, std::int64_t heads,
                               const std::string& what)
    : heads_(heads) {
  if (heads < 1 || width < 1 || width % heads != 0) {
    usage_error("{}: {} attention heads do not divide a width of {}; choose a multiple", what, heads, width);
  }
  query_ = register_module("query", torch::nn::Linear(query_width, width));
  key_ = register_module("key", torch::nn::Linear(torch::nn::LinearOptions(key_width, width).bias(false)));
  value_ = register_module("value", torch::nn::Linear(key_width, width));
  output_ = register_module("output", torch::nn::Linear(width, width));
}

at::Tensor TokenAttention::forward(const at::Tensor& query_BQE, const at::Tensor& memory_BTE,
                                   const at::Tensor& mask_BT) {
  const at::Tensor query = split_heads(query_(query_BQE), heads_);
  const at::Tensor key = split_heads(key_(memory_BTE), heads_);
  const at::Tensor value = split_heads(value_(memory_BTE), heads_);
  std::optional<at::Tensor> mask;
  if (mask_BT.defined()) mask = mask_BT.unsqueeze(1).unsqueeze(1).expand({-1, 1, query.size(2), -1});
  const at::Tensor mixed = at::scaled_dot_product_attention(query, key, value, mask);
  return output_(mixed.transpose(1, 2).flatten(2));
}

}  // namespace medfuse::model
