// Copies of one lab transformer that share its weights but not its gradients: each thread does a part of the batch.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "src/model/lab_transformer.h"

namespace medfuse::train {

class ImputeReplicas {
 public:
  using Make = std::function<std::shared_ptr<model::LabTransformer>()>;

  /// `threads` copies from `make`, of which the first owns the weights.
  ImputeReplicas(std::int64_t threads, const Make& make);

  model::LabTransformer& main() { return *models_.front(); }

  /// Calls work(model, begin, end) for every copy at once, with its part of [0, rows); the calling thread does the first
  /// part. Rethrows the first exception after all are done.
  void run(std::int64_t rows, const std::function<void(model::LabTransformer&, std::int64_t, std::int64_t)>& work);

  /// Adds the copies' gradients to main()'s, in order, and drops them.
  void collect_gradients();

 private:
  std::vector<std::shared_ptr<model::LabTransformer>> models_;
  std::vector<std::vector<at::Tensor>> parameters_;  // of each copy
};

}  // namespace medfuse::train
