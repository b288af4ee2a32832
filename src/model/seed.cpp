#include "src/model/seed.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

#include "base/random.h"

namespace medfuse::model {

namespace {

/// Calls value(key) for each element, with a key of its own, and puts the results into `parameter`.
template <class Value>
void fill(const at::Tensor& parameter, std::uint64_t seed, const std::string& name, Value&& value) {
  const torch::NoGradGuard no_grad;
  const std::uint64_t base = key({seed, name_counter(name)});
  at::Tensor values = at::empty(parameter.sizes(), at::kDouble);
  double* const out = values.mutable_data_ptr<double>();
  at::parallel_for(0, values.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = value(mix(base ^ mix(static_cast<std::uint64_t>(i))));
  });
  parameter.copy_(values);
}

bool ends_with_part(const std::string& name, std::string_view part) {
  return name.size() >= part.size() && name.compare(name.size() - part.size(), part.size(), part) == 0;
}

}  // namespace

void seed_uniform(const at::Tensor& parameter, double bound, std::uint64_t seed, const std::string& name) {
  fill(parameter, seed, name, [&](std::uint64_t k) { return bound * (2 * uniform(k) - 1); });
}

void seed_normal(const at::Tensor& parameter, double scale, std::uint64_t seed, const std::string& name) {
  // Box-Muller: 1 - uniform lies in (0, 1], so that its logarithm is finite.
  fill(parameter, seed, name, [&](std::uint64_t k) {
    return scale * std::sqrt(-2 * std::log(1 - uniform(k))) * std::cos(2 * std::numbers::pi * uniform(mix(k)));
  });
}

void seed_parameters(torch::nn::Module& module, std::uint64_t seed, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : module.named_parameters()) {
    const std::string name = prefix + item.key();
    const at::Tensor& parameter = item.value();
    if (parameter.dim() < 2 && ends_with_part(name, "bias")) {
      parameter.zero_();
    } else if (parameter.dim() < 2 && ends_with_part(name, "weight")) {
      parameter.fill_(1);
    } else {
      const std::int64_t fan_in = parameter.dim() < 2 ? parameter.numel() : parameter.numel() / parameter.size(0);
      seed_uniform(parameter, std::sqrt(3.0 / static_cast<double>(fan_in)), seed, name);
    }
  }
}

}  // namespace medfuse::model
