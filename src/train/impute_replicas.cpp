#include "src/train/impute_replicas.h"

#include <ATen/Parallel.h>

#include <exception>
#include <thread>

namespace medfuse::train {

ImputeReplicas::ImputeReplicas(std::int64_t threads, const Make& make) {
  for (std::int64_t i = 0; i < threads; ++i) {
    models_.push_back(make());
    parameters_.push_back(models_.back()->parameters());
  }
  for (std::size_t i = 1; i < models_.size(); ++i) {
    for (std::size_t p = 0; p < parameters_[i].size(); ++p) {
      parameters_[i][p].set_data(parameters_[0][p].detach());  // one storage: an update of main() is seen by all
    }
  }
}

void ImputeReplicas::run(std::int64_t rows,
                         const std::function<void(model::LabTransformer&, std::int64_t, std::int64_t)>& work) {
  const auto count = static_cast<std::int64_t>(models_.size());
  std::vector<std::exception_ptr> failures(models_.size());
  const bool gradients = at::GradMode::is_enabled();  // thread-local
  const auto part = [&](std::int64_t i) {
    const at::AutoGradMode mode(gradients);
    try {
      work(*models_[static_cast<std::size_t>(i)], rows * i / count, rows * (i + 1) / count);
    } catch (...) {
      failures[static_cast<std::size_t>(i)] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (std::int64_t i = 1; i < count; ++i) {
    threads.emplace_back([&, i] {
      at::set_num_threads(1);
      part(i);
    });
  }
  part(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

void ImputeReplicas::collect_gradients() {
  for (std::size_t i = 1; i < parameters_.size(); ++i) {
    for (std::size_t p = 0; p < parameters_[i].size(); ++p) {
      at::Tensor& gradient = parameters_[i][p].mutable_grad();
      if (!gradient.defined()) continue;
      at::Tensor& sum = parameters_[0][p].mutable_grad();
      if (sum.defined()) {
        sum.add_(gradient);
      } else {
        sum = gradient.clone();
      }
      gradient.reset();
    }
  }
}

}  // namespace medfuse::train
