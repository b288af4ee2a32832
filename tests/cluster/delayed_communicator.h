// Another communicator on a slow network: what is started over it ends no earlier than a while later, and nobody is held
// up meanwhile. It shows whether a step really computes while its collectives are under way.
#pragma once

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "cluster/wrapped_communicator.h"

namespace medfuse::cluster {

/// Parts of it are not delayed.
class DelayedCommunicator : public WrappedCommunicator {
 public:
  /// `inner` must outlive it.
  DelayedCommunicator(Communicator& inner, std::chrono::milliseconds delay) : WrappedCommunicator(inner), delay_(delay) {}

  std::unique_ptr<Work> all_reduce(const at::Tensor& tensor, Reduction reduction) override {
    return delay(WrappedCommunicator::all_reduce(tensor, reduction));
  }
  std::unique_ptr<Work> broadcast(const at::Tensor& tensor, int root) override {
    return delay(WrappedCommunicator::broadcast(tensor, root));
  }
  std::unique_ptr<Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return delay(WrappedCommunicator::all_gather(output, input));
  }
  std::unique_ptr<Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input, Reduction reduction) override {
    return delay(WrappedCommunicator::reduce_scatter(output, input, reduction));
  }
  std::unique_ptr<Work> all_to_all(const at::Tensor& output, const at::Tensor& input) override {
    return delay(WrappedCommunicator::all_to_all(output, input));
  }
  std::unique_ptr<Work> send(const at::Tensor& tensor, int member) override {
    return delay(WrappedCommunicator::send(tensor, member));
  }
  std::unique_ptr<Work> receive(const at::Tensor& tensor, int member) override {
    return delay(WrappedCommunicator::receive(tensor, member));
  }
  void barrier() override {
    std::this_thread::sleep_for(delay_);
    WrappedCommunicator::barrier();
  }
  std::chrono::milliseconds summed_delay() const { return started_ * delay_; }

 private:
  class DelayedWork : public Work {
   public:
    DelayedWork(std::unique_ptr<Work> inner, std::chrono::milliseconds delay)
        : inner_(std::move(inner)), earliest_(std::chrono::steady_clock::now() + delay) {}
    void wait() override {
      std::this_thread::sleep_until(earliest_);
      inner_->wait();
    }

   private:
    std::unique_ptr<Work> inner_;
    std::chrono::steady_clock::time_point earliest_;
  };

  std::unique_ptr<Work> delay(std::unique_ptr<Work> inner) {
    ++started_;
    return std::make_unique<DelayedWork>(std::move(inner), delay_);
  }

  std::chrono::milliseconds delay_;
  int started_ = 0;
};

}  // namespace medfuse::cluster
