#include "src/parallel/gradient_reducer.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "src/parallel/flat_buckets.h"
#include "src/parallel/gradient_queue.h"

namespace medfuse::parallel {

namespace {

/// Every rank updates every parameter.
class WholeReducer : public GradientReducer {
 public:
  explicit WholeReducer(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {}

  std::vector<OwnedPart> owned() const override {
    std::vector<OwnedPart> all;
    for (const at::Tensor& parameter : parameters_) all.push_back({{0, parameter.numel()}, parameter.detach()});
    return all;
  }
  std::vector<at::Tensor> gradients() const override {
    std::vector<at::Tensor> all;
    for (const at::Tensor& parameter : parameters_) all.push_back(parameter.grad());
    return all;
  }
  double sum_over_owners(double value) override { return value; }
  void share_parameters() override {}
  void drop_gradients() override {
    for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
  }

 protected:
  std::vector<at::Tensor> parameters_;
};

/// One rank alone: its gradients are the sums.
class LoneReducer : public WholeReducer {
 public:
  using WholeReducer::WholeReducer;

  void prepare(bool) override {}

  void finish() override {
    const at::NoGradGuard no_grad;
    // An optimiser passes over parameters without a gradient: it must do so on any number of ranks or on none.
    for (const at::Tensor& parameter : parameters_) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    }
  }
};

class BucketedReducer : public WholeReducer {
 public:
  BucketedReducer(std::vector<at::Tensor> parameters, std::vector<FlatBucket> buckets,
                  cluster::Communicator& communicator)
      : WholeReducer(std::move(parameters)),
        communicator_(communicator),
        buckets_(std::move(buckets)),
        queue_(buckets_, [this](std::size_t bucket) { launch(bucket); }) {}

  void prepare(bool last) override {
    if (last) queue_.prepare();
  }

  void finish() override {
    queue_.finish();
    // A local list: should one fail, the others go with the exception and are not waited for.
    std::vector<Sum> sums = std::exchange(sums_, {});
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i].work->wait();
      give_gradients(buckets_[i], sums[i].flat);
      sums[i] = {};
    }
  }

 private:
  struct Sum {
    at::Tensor flat;
    std::unique_ptr<cluster::Work> work;
  };

  void launch(std::size_t bucket) {
    at::Tensor flat = take_gradients(buckets_[bucket], buckets_[bucket].elements);
    auto work = communicator_.all_reduce(flat, cluster::Reduction::sum);
    sums_.push_back({std::move(flat), std::move(work)});
  }

  cluster::Communicator& communicator_;
  std::vector<FlatBucket> buckets_;
  std::vector<Sum> sums_;  // under way, by bucket
  GradientQueue queue_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_bucketed_reducer(std::vector<at::Tensor> parameters,
                                                       cluster::Communicator& communicator,
                                                       const ReducerOptions& options) {
  auto buckets = flat_buckets(parameters, options.bucket_mib, options.dtype);
  if (communicator.size() == 1) return std::make_unique<LoneReducer>(std::move(parameters));
  return std::make_unique<BucketedReducer>(std::move(parameters), std::move(buckets), communicator);
}

}  // namespace medfuse::parallel
