// A communicator that leaves out some of its reductions: what a forgotten all-reduce looks like.
#pragma once

#include <cstdint>
#include <memory>

#include "cluster/wrapped_communicator.h"

namespace medfuse::train {

class Forgetful : public cluster::WrappedCommunicator {
 public:
  static constexpr std::int64_t none = -1, every = -2;

  /// Forgets the reduction of this number, counted from 0, or none or every one. With `elements` only those of tensors of
  /// so many count.
  Forgetful(cluster::Communicator& inner, std::int64_t forgotten, std::int64_t elements = 0)
      : WrappedCommunicator(inner), forgotten_(forgotten), elements_(elements) {}

  std::unique_ptr<cluster::Work> all_reduce(const at::Tensor& tensor, cluster::Reduction reduction) override {
    if (elements_ > 0 && tensor.numel() != elements_) return WrappedCommunicator::all_reduce(tensor, reduction);
    const bool forget = reductions_++ == forgotten_ || forgotten_ == every;
    const at::Tensor target = forget ? tensor.clone() : tensor;  // the others still meet; the result is thrown away
    auto work = WrappedCommunicator::all_reduce(target, reduction);
    if (forget) work->wait();
    return work;
  }
  std::int64_t reductions() const { return reductions_; }

 private:
  std::int64_t forgotten_;
  std::int64_t elements_;
  std::int64_t reductions_ = 0;
};

}  // namespace medfuse::train
