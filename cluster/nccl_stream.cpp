#include "cluster/nccl_stream.h"

#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

namespace medfuse::cluster {

/// What goes to the stream in one piece.
struct NcclStream::Batch {
  std::string operation;
  std::vector<NcclGroup::Call> calls;         ///< of sends and receives, until they are launched
  std::shared_ptr<at::cuda::CUDAEvent> done;  ///< null until launched
};

class NcclStream::Handle : public Work {
 public:
  Handle(std::shared_ptr<NcclStream> stream, std::shared_ptr<Batch> batch)
      : stream_(std::move(stream)), batch_(std::move(batch)), exceptions_(std::uncaught_exceptions()) {}

  /// A forgotten message is sent all the same, for its receiver waits; not while an exception unwinds.
  ~Handle() override {
    if (stream_->open_ != batch_ || std::uncaught_exceptions() > exceptions_) return;
    try {
      stream_->launch_open();
    } catch (...) {  // the group keeps the failure and says so at the next call
    }
  }

  void wait() override {
    launch();
    if (batch_->done) batch_->done->block(c10::cuda::getCurrentCUDAStream(stream_->device_.index()));
  }

  void wait_on_host() {
    launch();
    while (batch_->done && !batch_->done->query()) {
      stream_->group_->check();
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    stream_->group_->check();
  }

 private:
  void launch() {
    if (stream_->open_ == batch_) stream_->launch_open();
    stream_->group_->check();
  }

  std::shared_ptr<NcclStream> stream_;
  std::shared_ptr<Batch> batch_;
  int exceptions_;
};

NcclStream::NcclStream(std::shared_ptr<NcclGroup> group, at::Device device)
    : group_(std::move(group)), device_(device),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {}

NcclStream::~NcclStream() = default;

/// What is issued next comes after what the caller's stream holds so far, and the memory stays until it is through.
void NcclStream::follow(const std::vector<at::Tensor>& tensors) {
  const c10::cuda::CUDAGuard device_guard(device_);
  at::cuda::CUDAEvent ready;
  ready.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  ready.block(stream_);
  // The allocator must not hand this memory out again before our stream is through with it.
  for (const at::Tensor& t : tensors) c10::cuda::CUDACachingAllocator::recordStream(t.storage().data_ptr(), stream_);
}

void NcclStream::run(Batch& batch, const std::function<void()>& body) {
  at::NoGradGuard no_grad;
  const c10::cuda::CUDAGuard device_guard(device_);
  auto done = std::make_shared<at::cuda::CUDAEvent>();
  {
    const c10::cuda::CUDAStreamGuard stream_guard(stream_);
    body();
    done->record(stream_);
  }
  batch.done = done;
  group_->watch(batch.operation, [done] { return done->query(); });
}

void NcclStream::launch_open() {
  const auto batch = std::exchange(open_, nullptr);
  if (!batch) return;
  run(*batch, [&] { group_->issue_together(batch->operation, batch->calls); });
  batch->calls.clear();  // lets go of the tensors that the calls hold
}

std::unique_ptr<Work> NcclStream::launch(const std::string& operation, const std::vector<at::Tensor>& tensors,
                                         const std::function<void()>& body) {
  group_->check();
  launch_open();
  auto batch = std::make_shared<Batch>(operation);
  follow(tensors);
  run(*batch, body);
  return std::make_unique<Handle>(shared_from_this(), std::move(batch));
}

std::unique_ptr<Work> NcclStream::launch_later(const std::string& operation, const at::Tensor& tensor,
                                               NcclGroup::Call call) {
  group_->check();
  follow({tensor});
  if (!open_) open_ = std::make_shared<Batch>();
  open_->operation += (open_->operation.empty() ? "" : ", ") + operation;
  open_->calls.push_back(std::move(call));
  return std::make_unique<Handle>(shared_from_this(), open_);
}

void NcclStream::wait_on_host(Work& work) { dynamic_cast<Handle&>(work).wait_on_host(); }

}  // namespace medfuse::cluster
