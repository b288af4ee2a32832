// A communicator that counts what its collectives move, by the formulas of a ring.
#pragma once

#include <memory>
#include <utility>

#include "cluster/wrapped_communicator.h"
#include "src/plan/links.h"

namespace medfuse::plan {

class CountingCommunicator : public cluster::WrappedCommunicator {
 public:
  /// `bytes` grows by what a rank sends.
  CountingCommunicator(cluster::Communicator& inner, double& bytes) : WrappedCommunicator(inner), bytes_(bytes) {}

  std::unique_ptr<cluster::Work> all_reduce(const at::Tensor& tensor, cluster::Reduction reduction) override {
    count(Collective::all_reduce, tensor);
    return WrappedCommunicator::all_reduce(tensor, reduction);
  }
  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    count(Collective::all_gather, output);
    return WrappedCommunicator::all_gather(output, input);
  }
  std::unique_ptr<cluster::Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                                cluster::Reduction reduction) override {
    count(Collective::reduce_scatter, input);
    return WrappedCommunicator::reduce_scatter(output, input, reduction);
  }
  std::unique_ptr<cluster::Communicator> split(int colour, int order) override {
    auto part = WrappedCommunicator::split(colour, order);
    auto counting = std::make_unique<CountingCommunicator>(*part, bytes_);
    counting->owned_ = std::move(part);
    return counting;
  }

 private:
  void count(Collective collective, const at::Tensor& whole) {
    bytes_ += sent_bytes(collective, static_cast<double>(whole.nbytes()), size());
  }

  double& bytes_;
  std::unique_ptr<cluster::Communicator> owned_;
};

}  // namespace medfuse::plan
