// Starts the reduction of each bucket of gradients while the backward pass still computes the others.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "src/parallel/flat_buckets.h"

namespace medfuse::parallel {

/// Hooks on the parameters tell when a gradient is accumulated. A bucket is launched once it and all before it are
/// complete: collectives must start in the same order on all ranks, while the hooks' order may differ between them.
class GradientQueue {
 public:
  using Launch = std::function<void(std::size_t bucket)>;

  /// `launch` is called once a step for each bucket, in order, by whichever thread completes it (a thread of autograd
  /// on a GPU, the one that calls backward() on a CPU), never by two at once. Throws std::logic_error if a parameter
  /// already has a hook: LibTorch holds one.
  GradientQueue(const std::vector<FlatBucket>& buckets, Launch launch);
  /// Takes the hooks off: the parameters live longer.
  ~GradientQueue();
  GradientQueue(const GradientQueue&) = delete;
  GradientQueue& operator=(const GradientQueue&) = delete;

  /// From now on gradients count as ready. Before that, hooks do nothing: earlier micro-batches only accumulate.
  /// A gradient that changes after its bucket was launched makes backward() throw std::logic_error.
  void prepare();
  /// Launches the buckets that the backward pass has left (parameters without gradient), and ends the step.
  void finish();

 private:
  class Hook;
  class Registration;
  void ready(std::size_t number);
  void restart();

  Launch launch_;
  std::vector<std::size_t> bucket_of_;  // of each parameter of the list
  std::vector<std::size_t> sizes_;      // parameters in each bucket
  std::mutex mutex_;                    // hooks may run on several threads; guards what follows
  bool armed_ = false;
  std::vector<bool> ready_;             // of each parameter
  std::vector<std::size_t> missing_;    // of each bucket
  std::size_t next_ = 0;                // bucket to launch
  std::vector<std::unique_ptr<Registration>> registrations_;
};

}  // namespace medfuse::parallel
