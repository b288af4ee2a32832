#include "src/parallel/gradient_reducer.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>
#include <utility>

namespace medfuse::parallel {

namespace {

/// A run of parameters whose gradients travel together.
struct Bucket {
  at::TensorOptions options;  ///< type on the wire, device
  std::vector<at::Tensor> parameters;
  std::int64_t elements = 0;
};

class BucketedReducer : public GradientReducer {
 public:
  BucketedReducer(std::vector<at::Tensor> parameters, cluster::Communicator& communicator, const ReducerOptions& options)
      : communicator_(communicator) {
    if (parameters.empty()) throw std::logic_error("gradient reducer: no parameters");
    if (!(options.bucket_mib > 0)) throw std::logic_error("gradient reducer: bucket size must be positive");
    const double limit = options.bucket_mib * 1024 * 1024;
    for (at::Tensor& parameter : parameters) {
      if (!parameter.defined()) throw std::logic_error("gradient reducer: undefined parameter");
      const at::TensorOptions wire = parameter.options().dtype(options.dtype.value_or(parameter.scalar_type()));
      // Cut by list order, types and sizes only: the same on every rank, whatever gradients it has.
      const bool fits = !buckets_.empty() && buckets_.back().options.dtype() == wire.dtype() &&
                        buckets_.back().options.device() == wire.device() &&
                        static_cast<double>((buckets_.back().elements + parameter.numel()) *
                                            static_cast<std::int64_t>(wire.dtype().itemsize())) <= limit;
      if (!fits) buckets_.push_back({at::TensorOptions(wire.device()).dtype(wire.dtype()), {}, 0});
      buckets_.back().elements += parameter.numel();
      buckets_.back().parameters.push_back(std::move(parameter));
    }
  }

  void prepare() override {}

  void finish() override {
    at::NoGradGuard no_grad;
    if (communicator_.size() == 1) {
      // An optimiser passes over parameters without a gradient: it must do so on any number of ranks or on none.
      for (const Bucket& bucket : buckets_) {
        for (const at::Tensor& parameter : bucket.parameters) {
          if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
        }
      }
      return;
    }
    std::vector<at::Tensor> flats;
    std::vector<std::unique_ptr<cluster::Work>> works;
    for (const Bucket& bucket : buckets_) {
      flats.push_back(pack(bucket));
      works.push_back(communicator_.all_reduce(flats.back(), cluster::Reduction::sum));
    }
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      works[i]->wait();
      unpack(buckets_[i], flats[i]);
      flats[i].reset();
    }
  }

 private:
  static at::Tensor pack(const Bucket& bucket) {
    at::Tensor flat = at::empty({bucket.elements}, bucket.options);
    std::int64_t begin = 0;
    for (const at::Tensor& parameter : bucket.parameters) {
      const at::Tensor place = flat.narrow(0, begin, parameter.numel());
      begin += parameter.numel();
      const at::Tensor& gradient = parameter.grad();
      if (!gradient.defined()) {
        place.zero_();
        continue;
      }
      if (gradient.layout() != at::kStrided) throw std::logic_error("gradient reducer: gradient is not dense");
      place.view(gradient.sizes()).copy_(gradient);
    }
    return flat;
  }

  static void unpack(const Bucket& bucket, const at::Tensor& flat) {
    std::int64_t begin = 0;
    for (const at::Tensor& parameter : bucket.parameters) {
      const at::Tensor sum = flat.narrow(0, begin, parameter.numel()).view(parameter.sizes());
      begin += parameter.numel();
      if (parameter.grad().defined()) {
        parameter.grad().copy_(sum);
      } else {
        parameter.mutable_grad() = at::empty_like(parameter).copy_(sum);
      }
    }
  }

  cluster::Communicator& communicator_;
  std::vector<Bucket> buckets_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_bucketed_reducer(std::vector<at::Tensor> parameters,
                                                       cluster::Communicator& communicator,
                                                       const ReducerOptions& options) {
  return std::make_unique<BucketedReducer>(std::move(parameters), communicator, options);
}

}  // namespace medfuse::parallel
