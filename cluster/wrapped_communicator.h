// A communicator that passes everything on to another: what watches, times, delays or spoils some of it derives from this.
#pragma once

#include <memory>
#include <string>

#include "cluster/communicator.h"

namespace medfuse::cluster {

class WrappedCommunicator : public Communicator {
 public:
  /// `inner` must outlive it.
  explicit WrappedCommunicator(Communicator& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  at::Device device() const override { return inner_.device(); }
  std::string backend() const override { return inner_.backend(); }

  std::unique_ptr<Work> all_reduce(const at::Tensor& tensor, Reduction reduction) override {
    return inner_.all_reduce(tensor, reduction);
  }
  std::unique_ptr<Work> broadcast(const at::Tensor& tensor, int root) override { return inner_.broadcast(tensor, root); }
  std::unique_ptr<Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return inner_.all_gather(output, input);
  }
  std::unique_ptr<Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input, Reduction reduction) override {
    return inner_.reduce_scatter(output, input, reduction);
  }
  std::unique_ptr<Work> all_to_all(const at::Tensor& output, const at::Tensor& input) override {
    return inner_.all_to_all(output, input);
  }
  void barrier() override { inner_.barrier(); }
  std::unique_ptr<Work> send(const at::Tensor& tensor, int member) override { return inner_.send(tensor, member); }
  std::unique_ptr<Work> receive(const at::Tensor& tensor, int member) override { return inner_.receive(tensor, member); }
  /// The part is not wrapped.
  std::unique_ptr<Communicator> split(int colour, int order) override { return inner_.split(colour, order); }
  void set_timeout(std::chrono::milliseconds timeout) override { inner_.set_timeout(timeout); }

 private:
  Communicator& inner_;
};

}  // namespace medfuse::cluster
