// Multi-head attention over short sequences of tokens, as the lab transformer and the fusion use it.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <string>

namespace medfuse::model {

/// softmax(Q K' / sqrt(width / heads)) V with Q from one sequence and K, V from another; no key bias, since its true
/// gradient is zero.
class TokenAttention : public torch::nn::Module {
 public:
  /// Throws Error(usage) where `heads` does not divide `width`; `what` names the option in the message.
  TokenAttention(std::int64_t query_width, std::int64_t key_width, std::int64_t width, std::int64_t heads,
                 const std::string& what);

  /// query_BQE, memory_BTE -> [B, Q, width]. mask_BT: bool, true where a memory token may be seen, at least one per row;
  /// undefined: all.
  at::Tensor forward(const at::Tensor& query_BQE, const at::Tensor& memory_BTE, const at::Tensor& mask_BT = {});

 private:
  std::int64_t heads_;
  torch::nn::Linear query_{nullptr};
  torch::nn::Linear key_{nullptr};
  torch::nn::Linear value_{nullptr};
  torch::nn::Linear output_{nullptr};
};

}  // namespace medfuse::model
