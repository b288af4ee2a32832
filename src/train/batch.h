// Samples as tensors: one micro-batch, padded on the right to its longest text.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "data/batch/order.h"
#include "data/packed/reader.h"

namespace medfuse::train {

/// B samples, texts padded to L tokens, C lab columns, K diseases. A batch of no samples has L = 1.
struct Batch {
  at::Tensor tokens_BL;      ///< int64, 0 behind a text's end
  at::Tensor lengths_B;      ///< int64, at least 1; always on the host, which reads them
  at::Tensor labs_BC;        ///< scaled values, 0 where missing; of the floating type asked for
  at::Tensor observed_BC;    ///< bool
  at::Tensor labels_BK;      ///< 0 or 1, of the floating type asked for; [B, 0] for data packed without labels
  at::Tensor keys_B;         ///< int64: key({seed, stage, epoch, sample id}); what masks and dropout hang on
  std::int64_t size() const { return tokens_BL.size(0); }
};

/// Which parts of a sample a task needs: the others are left undefined, and are not moved to the device.
struct Parts {
  bool text = true;
  bool labs = true;
};

/// Reads the drawn samples. `stage` and `seed` enter keys_B. Throws Error(data) for unreadable shards.
Batch make_batch(const data::PackedReader& reader, std::span<const data::Draw> draws, std::uint64_t seed,
                 const std::string& stage, at::ScalarType floating, at::Device device, Parts parts = {});

/// The same for evaluation, where nothing is random: indices of samples, keys_B undefined.
Batch make_batch(const data::PackedReader& reader, std::span<const std::int64_t> indices, at::ScalarType floating,
                 at::Device device, Parts parts = {});

}  // namespace medfuse::train
