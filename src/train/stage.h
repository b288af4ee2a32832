// A stage of training: a number of steps, each of which the trainer asks for in order. Stages differ in what they learn;
// the trainer's loop, checkpoints and reports are the same for all.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/checkpoint/tensors.h"

namespace medfuse::train {

/// What one step did. The shares are this rank's parts of global sums: over the ranks they add up.
struct StepReport {
  double loss_share = 0;     ///< of the global mean loss
  double samples_share = 0;
  double tokens_share = 0;   ///< real text tokens, padding not counted
  std::vector<std::pair<std::string, double>> other_shares;  ///< named parts of the loss; the same names on all ranks
  double learning_rate = 0;  ///< the same on all ranks, as is the norm
  double gradient_norm = 0;
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual const std::string& name() const = 0;
  virtual std::int64_t steps() const = 0;
  /// Samples of the training split, for the epoch that reports show.
  virtual double epoch_of(std::int64_t step) const = 0;
  /// Called before the first step here, also of a stage that goes on: what must be done together, which making a stage, by
  /// ranks of which one may fail to read a checkpoint, must not be. Collective.
  virtual void enter() {}
  /// Forward, backward, reduction and update of one global step. Collective.
  virtual StepReport step(std::int64_t step) = 0;
  /// Puts the newest parameters on every rank, where ranks have trained different ones: before a checkpoint and at the end
  /// of the stage. Collective.
  virtual void unite_parameters() {}
  /// Optimiser state: live tensors, this rank's blocks of them, to be saved and written into on resume.
  virtual std::vector<checkpoint::ShardedTensor> state() const = 0;
};

}  // namespace medfuse::train
