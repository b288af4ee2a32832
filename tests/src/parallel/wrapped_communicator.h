// A communicator that passes everything on to another, for tests that watch or spoil some of it.
#pragma once

#include "cluster/communicator.h"

namespace medfuse::parallel {

class WrappedCommunicator : public cluster::Communicator {
 public:
  explicit WrappedCommunicator(cluster::Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  at::Device device() const override { return inner_.device(); }
  std::string backend() const override { return inner_.backend(); }
  std::unique_ptr<cluster::Work> all_reduce(const at::Tensor& tensor, cluster::Reduction reduction) override {
    return inner_.all_reduce(tensor, reduction);
  }
  std::unique_ptr<cluster::Work> broadcast(const at::Tensor& tensor, int root) override {
    return inner_.broadcast(tensor, root);
  }
  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return inner_.all_gather(output, input);
  }
  std::unique_ptr<cluster::Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                                cluster::Reduction reduction) override {
    return inner_.reduce_scatter(output, input, reduction);
  }
  void barrier() override { inner_.barrier(); }
  std::unique_ptr<Communicator> split(int colour, int order) override { return inner_.split(colour, order); }
  void set_timeout(std::chrono::milliseconds timeout) override { inner_.set_timeout(timeout); }

 private:
  cluster::Communicator& inner_;
};

}  // namespace medfuse::parallel
