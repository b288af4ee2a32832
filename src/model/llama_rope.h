// Angles of the rotary position embedding for the frequencies that a Llama configuration asks for.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "src/weights/hf_config.h"

namespace medfuse::model {

/// Frequencies in radians per token, float32 [head_dim / 2]: theta^(-2 i / head_dim), stretched as the configuration says
/// (Llama 3.1's rule: wavelengths longer than original_max / low_freq_factor by `factor`, shorter than
/// original_max / high_freq_factor not at all, blended between). float32 is part of the model: it was trained so.
at::Tensor rope_frequencies_F(const weights::LlamaConfig& config);

/// Cosines and sines of all positions so far, grown when a longer sequence comes.
class RopeTable {
 public:
  explicit RopeTable(const weights::LlamaConfig& config) : frequencies_F_(rope_frequencies_F(config)) {}
  /// Makes cos() and sin() [>= positions, F], of type `wide` on `device`.
  void reserve(std::int64_t positions, at::ScalarType wide, at::Device device);
  const at::Tensor& cos() const { return cos_PF_; }
  const at::Tensor& sin() const { return sin_PF_; }

 private:
  at::Tensor frequencies_F_;
  at::Tensor cos_PF_;
  at::Tensor sin_PF_;
};

}  // namespace medfuse::model
