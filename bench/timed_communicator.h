// Another communicator, with the time that the program spends in it: what a step does not hide behind its computation.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "cluster/wrapped_communicator.h"

namespace medfuse::bench {

/// Parts of it are not timed.
class TimedCommunicator : public cluster::WrappedCommunicator {
 public:
  using WrappedCommunicator::WrappedCommunicator;

  std::unique_ptr<cluster::Work> all_reduce(const at::Tensor& tensor, cluster::Reduction reduction) override {
    return timed([&] { return WrappedCommunicator::all_reduce(tensor, reduction); });
  }
  std::unique_ptr<cluster::Work> broadcast(const at::Tensor& tensor, int root) override {
    return timed([&] { return WrappedCommunicator::broadcast(tensor, root); });
  }
  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return timed([&] { return WrappedCommunicator::all_gather(output, input); });
  }
  std::unique_ptr<cluster::Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                                cluster::Reduction reduction) override {
    return timed([&] { return WrappedCommunicator::reduce_scatter(output, input, reduction); });
  }
  void barrier() override {
    const Clock clock(seconds_);
    WrappedCommunicator::barrier();
  }

  /// In calls that start a collective or wait for one.
  double seconds() const { return seconds_; }

 private:
  /// Adds the time that it lives.
  class Clock {
   public:
    explicit Clock(double& sum) : sum_(sum) {}
    ~Clock() { sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;

   private:
    double& sum_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

  class TimedWork : public cluster::Work {
   public:
    TimedWork(std::unique_ptr<cluster::Work> inner, double& seconds) : inner_(std::move(inner)), seconds_(seconds) {}
    void wait() override {
      const Clock clock(seconds_);
      inner_->wait();
    }

   private:
    std::unique_ptr<cluster::Work> inner_;
    double& seconds_;
  };

  template <class F>
  std::unique_ptr<cluster::Work> timed(const F& start) {
    const Clock clock(seconds_);
    return std::make_unique<TimedWork>(start(), seconds_);
  }

  double seconds_ = 0;
};

}  // namespace medfuse::bench
