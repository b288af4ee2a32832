// From local gradients to the next parameters: sum over ranks, clip by the global norm, AdamW at the schedule's rate.
// Each rank updates all parameters, or (parallel.zero) its share of their elements.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/parallel/gradient_reducer.h"
#include "src/train/adamw.h"
#include "src/train/options.h"
#include "src/train/ranks.h"
#include "src/train/schedule.h"

namespace medfuse::train {

class Updater {
 public:
  /// `name` sets its state apart in checkpoints. `clip` 0: the norm is only measured. The groups and their parameters
  /// should come in the order of the forward pass, so that gradients are sent early (see GradientReducer).
  Updater(std::string name, std::vector<ParameterGroup> groups, const AdamWOptions& adam,
          const ScheduleOptions& schedule, double clip, const ParallelOptions& parallel,
          Ranks ranks);

  /// Before the backward pass of each micro-batch, or in its place on a rank that has none (see GradientReducer).
  void prepare(bool last) { reducer_->prepare(last); }
  /// Collective. Sums the gradients over the ranks and returns their global norm from before clipping; not finite on all
  /// ranks if it is so on one. One of the two below uses them up.
  double reduce();
  /// Behind reduce(), if all that the step was to change has a norm that is finite. Collective.
  void apply(std::int64_t step);
  /// Behind reduce(), in its place: parameters and optimiser state stay as they are.
  void drop() { reducer_->drop_gradients(); }

  /// Copies of its parameters and optimiser state, as this rank has them, and the way back to them.
  std::vector<at::Tensor> copy() const;
  void restore(const std::vector<at::Tensor>& copy);

  double learning_rate(std::int64_t step) const;
  std::vector<NamedTensor> parameters() const { return optimizer_.parameters(); }
  /// Optimiser state, named "NAME/...": this rank's blocks of it.
  std::vector<checkpoint::ShardedTensor> state() const;

 private:
  /// Global norm of the reduced gradients: what is split over the tensor dimension counts once for each part.
  double norm(const std::vector<at::Tensor>& gradients) const;
  /// Everything that apply() changes, live.
  std::vector<at::Tensor> changing() const;

  std::string name_;
  std::unique_ptr<parallel::GradientReducer> reducer_;
  AdamW optimizer_;
  ScheduleOptions schedule_;
  double clip_;
  Ranks ranks_;
  double norm_ = 0;  // of what was reduced last
};

}  // namespace medfuse::train
