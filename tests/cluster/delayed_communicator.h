// Another communicator on a slow network, which carries one collective after the other, each for a while, and holds nobody
// up meanwhile. It shows whether a step really computes while its collectives are under way.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "cluster/wrapped_communicator.h"

namespace medfuse::cluster {

class DelayedCommunicator : public WrappedCommunicator {
 public:
  /// `inner` must outlive it.
  DelayedCommunicator(Communicator& inner, std::chrono::milliseconds delay)
      : DelayedCommunicator(inner, std::make_shared<Network>(Network{delay})) {}

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
    network_->wait_until(network_->carry());
    WrappedCommunicator::barrier();
  }
  /// Parts are on the same network.
  std::unique_ptr<Communicator> split(int colour, int order) override {
    auto part = WrappedCommunicator::split(colour, order);
    std::unique_ptr<DelayedCommunicator> delayed(new DelayedCommunicator(*part, network_));
    delayed->owned_ = std::move(part);
    return delayed;
  }
  /// Of all that was started so far, on parts too.
  std::chrono::milliseconds summed_delay() const { return network_->started * network_->delay; }
  /// How long this rank has waited for the network: by so much delays made it slower, whatever else the machine did.
  std::chrono::duration<double> held_up() const { return network_->held_up; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  struct Network {
    std::chrono::milliseconds delay;
    int started = 0;
    Time free = {};
    std::chrono::duration<double> held_up = {};

    /// When what is started now has been carried.
    Time carry() {
      ++started;
      return free = std::max(free, std::chrono::steady_clock::now()) + delay;
    }
    void wait_until(Time time) {
      const Time start = std::chrono::steady_clock::now();
      if (time <= start) return;
      held_up += time - start;
      std::this_thread::sleep_until(time);
    }
  };

  DelayedCommunicator(Communicator& inner, std::shared_ptr<Network> network)
      : WrappedCommunicator(inner), network_(std::move(network)) {}

  class DelayedWork : public Work {
   public:
    DelayedWork(std::unique_ptr<Work> inner, std::shared_ptr<Network> network)
        : inner_(std::move(inner)), network_(std::move(network)), earliest_(network_->carry()) {}
    void wait() override {
      network_->wait_until(earliest_);
      inner_->wait();
    }

   private:
    std::unique_ptr<Work> inner_;
    std::shared_ptr<Network> network_;
    Time earliest_;
  };

  std::unique_ptr<Work> delay(std::unique_ptr<Work> inner) {
    return std::make_unique<DelayedWork>(std::move(inner), network_);
  }

  std::shared_ptr<Network> network_;
  std::unique_ptr<Communicator> owned_;  // of a part, what it wraps
};

}  // namespace medfuse::cluster
