// AdamW (Loshchilov & Hutter, arXiv 1711.05101) with masters and moments in float32 (float64 for float64 parameters).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/parallel/element_range.h"
#include "src/train/adamw_factors.h"
#include "src/train/named_tensor.h"

namespace medfuse::train {

/// Parameters that share a learning-rate factor and a weight decay. Vectors and scalars (biases, norm weights, learned
/// tokens kept as vectors) are never decayed.
struct ParameterGroup {
  std::vector<NamedTensor> parameters;  ///< names are unique over all groups
  double rate_factor = 1.0;             ///< times the learning rate given to step()
  double weight_decay = 0.0;
};

class AdamW {
 public:
  /// `owned`: what this object updates, and keeps state for, of each parameter in group order; empty: everything. A
  /// part of a parameter is updated just as it would be in the whole, to the bit.
  /// Throws std::logic_error for a parameter that is not a contiguous floating-point leaf, or a name used twice.
  explicit AdamW(std::vector<ParameterGroup> groups, AdamWOptions options = {},
                 const std::vector<parallel::OwnedPart>& owned = {});

  /// One update with gradient * gradient_scale, so that clipping (scale = min(1, clip / norm)) need not rewrite the
  /// gradients. A parameter without a gradient keeps its value, its moments and its own step count, as in PyTorch.
  /// Bit-for-bit independent of the number of threads.
  void step(double learning_rate, double gradient_scale = 1.0);
  /// The same with given gradients, in group order: of each parameter that of its owned elements, in the parameter's
  /// shape where those are all, else flat.
  void step(double learning_rate, double gradient_scale, const std::vector<at::Tensor>& gradients);

  /// Drops all gradients.
  void zero_grad();

  /// All parameters, in group order, for clipping and reduction.
  std::vector<NamedTensor> parameters() const;

  /// Everything that a checkpoint must hold beside the parameters: NAME.moment1, NAME.moment2 (master type, the
  /// parameter's shape), NAME.master for bf16 and f16 parameters only, and "steps", int64 [parameters], how often each
  /// was updated. Where a part of a parameter is owned, blocks of these tensors. They are the live ones: write into them
  /// (copy_, without gradients) to restore.
  std::vector<checkpoint::ShardedTensor> state() const;

 private:
  struct Entry {
    std::string name;
    at::Tensor parameter;
    parallel::ElementRange range;  // of the parameter: what is owned
    at::Tensor value;   // the same, flat unless that is all
    at::Tensor master;  // the value itself unless that is bf16 or f16
    at::Tensor moment1;
    at::Tensor moment2;
    std::optional<model::ParameterPart> part;
    double rate_factor = 1;
    double weight_decay = 0;
  };
  void update(const Entry& entry, const at::Tensor& gradient, std::int64_t step, double learning_rate,
              double gradient_scale) const;

  AdamWOptions options_;
  std::vector<Entry> entries_;
  at::Tensor steps_;  // int64 [entries], host
};

/// One pass over contiguous host tensors of type f32 or f64, all of one type and size.
void adamw_fused(const at::Tensor& value, const at::Tensor& moment1, const at::Tensor& moment2,
                 const at::Tensor& gradient, const AdamWFactors& factors);
/// The same, to rounding, by tensor operations on any device.
void adamw_tensors(const at::Tensor& value, const at::Tensor& moment1, const at::Tensor& moment2,
                   const at::Tensor& gradient, const AdamWFactors& factors);

}  // namespace medfuse::train
