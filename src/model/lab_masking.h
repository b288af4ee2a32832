// Which observed cells of a table stay visible to the encoder, and how many cells each part of the loss counts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace medfuse::model {

/// Numbers of cells behind the two parts of the masked loss. Known before the forward pass: add them over ranks and
/// micro-batches, then divide by the result.
struct LabCounts {
  std::int64_t hidden = 0;  ///< observed, but not visible to the encoder
  std::int64_t kept = 0;    ///< visible
};

/// Bool [B, C] on observed_BC's device: of each row's observed cells the ceil(n_observed * (1 - ratio)) ones with the
/// smallest keys key({seed, stage, epoch, sample id, column}), so that a row's mask depends on neither its batch nor the
/// rank. observed_BC: bool [B, C]; one sample id per row. Throws std::logic_error for other shapes or a ratio outside
/// [0, 1].
at::Tensor lab_keep_mask(const at::Tensor& observed_BC, const std::vector<std::int64_t>& sample_ids, std::uint64_t seed,
                         std::uint64_t stage, std::uint64_t epoch, double ratio);

/// The same from the rows' keys, int64 [B]: key({seed, stage, epoch, sample id}).
at::Tensor lab_keep_mask(const at::Tensor& observed_BC, const at::Tensor& row_keys_B, double ratio);

/// Counts of this part of the global batch. Both bool [B, C].
LabCounts lab_counts(const at::Tensor& observed_BC, const at::Tensor& keep_BC);

}  // namespace medfuse::model
