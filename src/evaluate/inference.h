// What a model says about packed samples, over all ranks: probabilities per disease, or one embedding per sample.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "cluster/communicator.h"
#include "data/packed/reader.h"
#include "src/evaluate/predictions.h"
#include "src/model/medfuse_model.h"

namespace medfuse::evaluate {

struct InferenceOptions {
  std::int64_t micro_batch = 16;  ///< samples per forward pass
  bool fused = true;              ///< false: the text encoder's own head, all there is before the fusion stage
  bool parts = false;             ///< infer(): also the parts of a fusion of both views, 3 * tokens * width numbers a sample
  /// Called after each pass with this rank's samples so far and in all; may be empty.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
  /// Called before each pass, on every rank equally often; may be collective, and throw on all ranks alike. May be empty.
  std::function<void()> before_pass = {};
};

/// Probabilities of samples, and the parts of the fusion that they come from.
struct Inference {
  Predictions predictions;
  at::Tensor specific_NF;  ///< [S_A, S_B], float64; undefined unless asked for and there
  at::Tensor shared_NG;    ///< S_C, float64; undefined likewise
};

/// Of the samples `indices`, in that order, on every rank. Collective over `host`, a group of host tensors.
Inference infer(model::MedfuseModel& model, const data::PackedReader& reader, const std::vector<std::int64_t>& indices,
                cluster::Communicator& host, const InferenceOptions& options = {});

/// The predictions alone.
Predictions predict(model::MedfuseModel& model, const data::PackedReader& reader,
                    const std::vector<std::int64_t>& indices, cluster::Communicator& host,
                    const InferenceOptions& options = {});

/// Text embeddings float32 [N, D] of the samples `indices`, in that order, on every rank. Collective.
at::Tensor embed(model::MedfuseModel& model, const data::PackedReader& reader,
                 const std::vector<std::int64_t>& indices, cluster::Communicator& host,
                 const InferenceOptions& options = {});

/// Embeddings float32 [N, D] of N texts given as tokens (none empty), in that order, on every rank. Collective.
at::Tensor embed_tokens(model::TextEncoder& encoder, const std::vector<std::vector<std::int32_t>>& texts,
                        cluster::Communicator& host, const InferenceOptions& options);

}  // namespace medfuse::evaluate
