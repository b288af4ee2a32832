// Dropout whose mask is a function of (sample, layer, site, token, feature) and never of a generator's state: the same
// on every mesh, batch split and device, and again when a block is recomputed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace medfuse::ops {

/// What the masks of one batch hang on. An undefined `sample_keys` switches dropout off (evaluation).
struct DropoutKeys {
  at::Tensor sample_keys_B;  ///< int64 [B]: key({seed, stage, epoch, sample id}) of base/random.h
  /// int64 [B]: number of each row's token, where rows are tokens of x [B, D] laid end to end; undefined: all 0.
  at::Tensor tokens_B;
};

/// Places of a dropout inside one layer.
enum class Site : std::int64_t { query = 0, key, value, output, gate, up, down, attention, mlp, embedding, fusion };

/// x / (1 - p) where kept, 0 elsewhere. x: [B, D] or [B, L, D], any floating type; p in [0, 1). Keys lie on x's device.
/// Throws std::logic_error for shapes that do not fit.
/// `feature_offset`: global index of x's first feature, where features are split over ranks.
at::Tensor dropout(const at::Tensor& x, double p, const DropoutKeys& keys, std::int64_t layer, Site site,
                   std::int64_t feature_offset = 0);

/// target += dropout(x, ...), for hand-written backward passes: records no graph. Both of one shape and type.
void add_dropout_(const at::Tensor& target, const at::Tensor& x, double p, const DropoutKeys& keys, std::int64_t layer,
                  Site site, std::int64_t feature_offset = 0);

/// The mask by tensor operations, on any device: true where kept. `shape` as x's. With k the sample's key, continued by
/// (layer, site, token, global feature / 2) as key() of base/random.h does, an even feature takes the lower 32 bits of k
/// and an odd one the upper; it is kept if they are at least p * 2^32.
at::Tensor dropout_mask(at::IntArrayRef shape, double p, const DropoutKeys& keys, std::int64_t layer, Site site,
                        std::int64_t feature_offset = 0);

}  // namespace medfuse::ops
