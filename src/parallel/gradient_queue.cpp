#include "src/parallel/gradient_queue.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <stdexcept>
#include <utility>

namespace medfuse::parallel {

class GradientQueue::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientQueue& queue, std::size_t number) : queue_(queue), number_(number) {}
  void operator()(const at::Tensor&) override { queue_.ready(number_); }

 private:
  GradientQueue& queue_;
  std::size_t number_;
};

/// A hook on a parameter, for as long as the object lives.
class GradientQueue::Registration {
 public:
  Registration(at::Tensor parameter, std::unique_ptr<Hook> hook) : parameter_(std::move(parameter)) {
    if (torch::autograd::impl::get_autograd_meta(parameter_) &&
        torch::autograd::impl::post_acc_grad_hooks(parameter_)) {
      throw std::logic_error("gradient queue: a parameter is given twice, or has a hook already");
    }
    torch::autograd::impl::set_post_acc_grad_hooks(parameter_, std::move(hook));
  }
  ~Registration() { torch::autograd::impl::post_acc_grad_hooks(parameter_).reset(); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  at::Tensor parameter_;
};

GradientQueue::GradientQueue(const std::vector<FlatBucket>& buckets, Launch launch) : launch_(std::move(launch)) {
  for (const FlatBucket& bucket : buckets) {
    for (const FlatBucket::Part& part : bucket.parts) {
      if (bucket_of_.size() <= part.number) bucket_of_.resize(part.number + 1);
      bucket_of_[part.number] = sizes_.size();
    }
    sizes_.push_back(bucket.parts.size());
  }
  restart();
  for (const FlatBucket& bucket : buckets) {
    for (const FlatBucket::Part& part : bucket.parts) {
      registrations_.push_back(
          std::make_unique<Registration>(part.parameter, std::make_unique<Hook>(*this, part.number)));
    }
  }
}

GradientQueue::~GradientQueue() = default;

void GradientQueue::restart() {
  ready_.assign(bucket_of_.size(), false);
  missing_ = sizes_;
  next_ = 0;
}

void GradientQueue::prepare() {
  const std::lock_guard lock(mutex_);
  if (next_ > 0) throw std::logic_error("gradient queue: prepare() in the middle of a reduction");
  restart();
  armed_ = true;
}

void GradientQueue::ready(std::size_t number) {
  const std::lock_guard lock(mutex_);
  if (!armed_) return;
  const std::size_t bucket = bucket_of_[number];
  if (bucket < next_) throw std::logic_error("gradient queue: a gradient changed after it was sent");
  if (ready_[number]) return;
  ready_[number] = true;
  --missing_[bucket];
  while (next_ < missing_.size() && missing_[next_] == 0) launch_(next_++);
}

void GradientQueue::finish() {
  const std::lock_guard lock(mutex_);
  while (next_ < missing_.size()) launch_(next_++);
  armed_ = false;
  restart();
}

}  // namespace medfuse::parallel
