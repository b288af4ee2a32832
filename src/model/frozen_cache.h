// Hidden states below the lowest adapter, kept by token sequence: they never change while adapters are trained.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <unordered_map>

namespace medfuse::model {

class FrozenCache {
 public:
  /// Holds at most `bytes` of states; 0 holds nothing. Drops what it held.
  void resize(std::int64_t bytes);
  bool enabled() const { return limit_ > 0; }

  /// States [L, D] of exactly these tokens, or an undefined tensor.
  at::Tensor find(const std::string& key) const;
  /// Keeps the states if there is room. Nothing is ever pushed out: epochs visit all samples in turn, and whoever pushes
  /// out the oldest then throws away just what comes next.
  void add(const std::string& key, const at::Tensor& states_LD);
  std::int64_t bytes() const { return bytes_; }

  /// The bytes of tokens [L], int64 on the host: sequences share a key only if they are equal.
  static std::string key_of(const at::Tensor& tokens_L);

 private:
  std::unordered_map<std::string, at::Tensor> states_;
  std::int64_t limit_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace medfuse::model
