#include "src/model/llama_rope.h"

#include <algorithm>
#include <numbers>

namespace medfuse::model {

at::Tensor rope_frequencies_F(const weights::LlamaConfig& config) {
  const at::Tensor exponent_F = at::arange(0, config.head_dim, 2, at::kFloat) / static_cast<double>(config.head_dim);
  at::Tensor frequencies_F = at::pow(at::scalar_tensor(config.rope_theta, at::kFloat), exponent_F).reciprocal();
  if (config.rope_linear_factor != 1) frequencies_F = frequencies_F / config.rope_linear_factor;
  if (!config.rope_scaling) return frequencies_F;

  const weights::Llama3RopeScaling& scaling = *config.rope_scaling;
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const at::Tensor wavelength_F = (2 * std::numbers::pi) / frequencies_F;
  const at::Tensor stretched_F = frequencies_F / scaling.factor;
  const at::Tensor blend_F =
      (original / wavelength_F - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor blended_F = (1 - blend_F) * stretched_F + blend_F * frequencies_F;
  const at::Tensor long_F = wavelength_F > original / scaling.low_freq_factor;
  const at::Tensor short_F = wavelength_F < original / scaling.high_freq_factor;
  return at::where(long_F, stretched_F, at::where(short_F, frequencies_F, blended_F));
}

void RopeTable::reserve(std::int64_t positions, at::ScalarType wide, at::Device device) {
  if (cos_PF_.defined() && cos_PF_.size(0) >= positions && cos_PF_.scalar_type() == wide && cos_PF_.device() == device) {
    return;
  }
  const torch::NoGradGuard no_grad;
  const std::int64_t rows = std::max<std::int64_t>(positions, 512);
  const at::Tensor angles_PF = at::arange(rows, wide).unsqueeze(1) * frequencies_F_.to(wide).unsqueeze(0);
  cos_PF_ = angles_PF.cos().to(device);
  sin_PF_ = angles_PF.sin().to(device);
}

}  // namespace medfuse::model
