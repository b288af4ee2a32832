// Initial values that depend on a parameter's name and the seed only: not on construction order, rank or mesh.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>

namespace medfuse::model {

/// Fills every parameter of `module` anew: matrices uniform in +-sqrt(3 / fan_in) (variance 1 / fan_in), vectors named
/// "*bias" zero, vectors named "*weight" (norms) one. Each element is a function of (seed, prefix + name, its index).
/// Modules with other needs (LoRA's B = 0, learned tokens) set those afterwards.
void seed_parameters(torch::nn::Module& module, std::uint64_t seed, const std::string& prefix);

/// Values uniform in [-bound, bound), each a function of (seed, name, index). Filled in float64, then cast.
void seed_uniform(const at::Tensor& parameter, double bound, std::uint64_t seed, const std::string& name);

/// Standard normal values times `scale`, each a function of (seed, name, index). Filled in float64, then cast.
void seed_normal(const at::Tensor& parameter, double scale, std::uint64_t seed, const std::string& name);

}  // namespace medfuse::model
