// Fine-tuning of the text encoder on texts that stay the same: the work that steps and memory are measured on.
#pragma once

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <memory>
#include <string>

#include "src/model/text_encoder.h"
#include "src/train/options.h"
#include "src/train/ranks.h"
#include "src/train/updater.h"

namespace medfuse::bench {

inline constexpr std::int64_t diseases = 10;

struct TextWork {
  std::int64_t texts = 16;    ///< of a rank in a step, all in one pass
  std::int64_t tokens = 113;  ///< of a text
};

class TextTraining {
 public:
  /// Reads options.text.model. Every rank of a tensor group gets the same texts, of random tokens. The groups outlive it.
  TextTraining(const train::TrainOptions& options, const TextWork& work, train::Ranks ranks);
  /// The same with random weights of this shape, in its place.
  TextTraining(const train::TrainOptions& options, const weights::LlamaConfig& shape, const TextWork& work,
               train::Ranks ranks);
  /// Forward, backward, reduction and update. Collective over the ranks. Throws Error(numeric) if the gradient's norm is
  /// not finite.
  void step();

 private:
  /// `shape`: of random weights; null: they are read. `ranks`: with what they share.
  TextTraining(const train::TrainOptions& options, const weights::LlamaConfig* shape, const TextWork& work,
               train::Ranks ranks);

  std::shared_ptr<model::TextEncoder> text_;
  torch::nn::Linear head_;
  at::Tensor tokens_BL_, lengths_B_, labels_BK_, keys_B_;
  double decisions_;  ///< of all ranks in a step
  std::unique_ptr<train::Updater> updater_;
  std::int64_t steps_ = 0;
};

/// The encoder of configs/demo.cfg, or of the folder in MEDFUSE_SMOLLM2: SmolLM2-135M cut to 6 blocks, LoRA of rank 8 on
/// the last 2.
train::TrainOptions demo_options();

}  // namespace medfuse::bench
