#include "cluster/nccl_communicator.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>

#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "cluster/nccl_group.h"
#include "cluster/tensor_checks.h"
#include "cluster/together.h"

namespace medfuse::cluster {

namespace {

ncclDataType_t nccl_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return ncclFloat32;
    case at::kDouble: return ncclFloat64;
    case at::kBFloat16: return ncclBfloat16;
    case at::kHalf: return ncclFloat16;
    case at::kLong: return ncclInt64;
    default: return ncclUint8;
  }
}

ncclRedOp_t nccl_operation(Reduction reduction) { return reduction == Reduction::sum ? ncclSum : ncclMax; }

/// NCCL rounds a bf16 or f16 sum at every hop; f32 on the wire is rounded once.
bool needs_widening(const at::Tensor& tensor, Reduction reduction) {
  return reduction == Reduction::sum && (tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf);
}

class NcclWork : public Work {
 public:
  NcclWork(std::shared_ptr<NcclGroup> group, std::shared_ptr<at::cuda::CUDAEvent> done, at::Device device)
      : group_(std::move(group)), done_(std::move(done)), device_(device) {}

  void wait() override {
    group_->check();
    if (done_) done_->block(c10::cuda::getCurrentCUDAStream(device_.index()));
  }

  /// Waits on the host, without a call that could hang for ever.
  void wait_on_host() {
    while (done_ && !done_->query()) {
      group_->check();
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    group_->check();
  }

 private:
  std::shared_ptr<NcclGroup> group_;
  std::shared_ptr<at::cuda::CUDAEvent> done_;
  at::Device device_;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<NcclGroup> group, const NcclApi& api, at::Device device)
      : group_(std::move(group)), api_(api), device_(device),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  at::Device device() const override { return device_; }
  std::string backend() const override { return "nccl"; }
  void set_timeout(std::chrono::milliseconds timeout) override { group_->set_timeout(timeout); }

  std::unique_ptr<Work> all_reduce(const at::Tensor& tensor, Reduction reduction) override;
  std::unique_ptr<Work> broadcast(const at::Tensor& tensor, int root) override;
  std::unique_ptr<Work> all_gather(const at::Tensor& output, const at::Tensor& input) override;
  std::unique_ptr<Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input, Reduction reduction) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int colour, int order) override;

 private:
  /// Runs `body` with the communicator's stream current, after what the caller's stream holds so far.
  template <class Body>
  std::unique_ptr<NcclWork> launch(const std::string& operation, const std::vector<at::Tensor>& tensors, const Body& body) {
    group_->check();
    at::NoGradGuard no_grad;
    const c10::cuda::CUDAGuard device_guard(device_);
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream(device_.index()));
    ready.block(stream_);
    auto done = std::make_shared<at::cuda::CUDAEvent>();
    {
      const c10::cuda::CUDAStreamGuard stream_guard(stream_);
      // The allocator must not hand this memory out again before our stream is through with it.
      for (const at::Tensor& t : tensors) c10::cuda::CUDACachingAllocator::recordStream(t.storage().data_ptr(), stream_);
      body();
      done->record(stream_);
    }
    group_->watch(operation, [done] { return done->query(); });
    return std::make_unique<NcclWork>(group_, std::move(done), device_);
  }
  std::unique_ptr<Work> nothing() { return std::make_unique<NcclWork>(group_, nullptr, device_); }

  std::shared_ptr<NcclGroup> group_;
  const NcclApi& api_;
  at::Device device_;
  c10::cuda::CUDAStream stream_;
};

std::unique_ptr<Work> NcclCommunicator::all_reduce(const at::Tensor& given, Reduction reduction) {
  check_tensor("all_reduce", given, device_);
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const std::string operation = describe(reduction == Reduction::sum ? "all_reduce (sum)" : "all_reduce (max)", tensor, size());
  return launch(operation, {tensor}, [&] {
    const bool widen = needs_widening(tensor, reduction);
    const at::Tensor wire = widen ? tensor.to(at::kFloat) : tensor;
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_reduce(wire.const_data_ptr(), wire.mutable_data_ptr(), static_cast<std::size_t>(wire.numel()),
                             nccl_type(wire.scalar_type()), nccl_operation(reduction), comm, stream_.stream());
    });
    if (widen) tensor.copy_(wire);
  });
}

std::unique_ptr<Work> NcclCommunicator::broadcast(const at::Tensor& given, int root) {
  check_tensor("broadcast", given, device_);
  check_root("broadcast", root, size());
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const std::string operation = describe("broadcast", tensor, size());
  return launch(operation, {tensor}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.broadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), static_cast<std::size_t>(tensor.numel()),
                            nccl_type(tensor.scalar_type()), root, comm, stream_.stream());
    });
  });
}

std::unique_ptr<Work> NcclCommunicator::all_gather(const at::Tensor& given_output, const at::Tensor& given_input) {
  check_tensor("all_gather", given_output, device_);
  check_tensor("all_gather", given_input, device_);
  check_pair("all_gather", given_output, given_input, size());
  if (given_input.numel() == 0) return nothing();
  const at::Tensor output = given_output.detach(), input = given_input.detach();
  const std::string operation = describe("all_gather", output, size());
  return launch(operation, {output, input}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_gather(input.const_data_ptr(), output.mutable_data_ptr(), static_cast<std::size_t>(input.numel()),
                             nccl_type(input.scalar_type()), comm, stream_.stream());
    });
  });
}

std::unique_ptr<Work> NcclCommunicator::reduce_scatter(const at::Tensor& given_output, const at::Tensor& given_input,
                                                       Reduction reduction) {
  check_tensor("reduce_scatter", given_output, device_);
  check_tensor("reduce_scatter", given_input, device_);
  check_pair("reduce_scatter", given_input, given_output, size());
  if (given_output.numel() == 0) return nothing();
  const at::Tensor output = given_output.detach(), input = given_input.detach();
  const std::string operation =
      describe(reduction == Reduction::sum ? "reduce_scatter (sum)" : "reduce_scatter (max)", input, size());
  return launch(operation, {output, input}, [&] {
    const bool widen = needs_widening(input, reduction);
    const at::Tensor wire_in = widen ? input.to(at::kFloat) : input;
    const at::Tensor wire_out = widen ? at::empty(output.sizes(), wire_in.options()) : output;
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.reduce_scatter(wire_in.const_data_ptr(), wire_out.mutable_data_ptr(),
                                 static_cast<std::size_t>(wire_out.numel()), nccl_type(wire_in.scalar_type()),
                                 nccl_operation(reduction), comm, stream_.stream());
    });
    if (widen) output.copy_(wire_out);
  });
}

void NcclCommunicator::barrier() {
  const at::Tensor token = at::zeros({1}, at::TensorOptions(device_).dtype(at::kFloat));
  const std::string operation = fmt::format("barrier among {} ranks", size());
  launch(operation, {token}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_reduce(token.const_data_ptr(), token.mutable_data_ptr(), 1, ncclFloat32, ncclSum, comm,
                             stream_.stream());
    });
  })->wait_on_host();
}

std::unique_ptr<Communicator> NcclCommunicator::split(int colour, int order) {
  if (colour < 0) throw std::logic_error("split: a colour is not negative");
  const c10::cuda::CUDAGuard device_guard(device_);
  return std::make_unique<NcclCommunicator>(group_->split(colour, order), api_, device_);
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Process& process, at::Device device, const NcclApi& api) {
  if (!device.is_cuda() || !device.has_index()) throw std::logic_error("NCCL serves a numbered CUDA device");
  const c10::cuda::CUDAGuard device_guard(device);
  ncclUniqueId id{};
  together(process, [&] {
    check_nccl_version(api);
    if (process.rank() == 0) MEDFUSE_NCCL(api, get_unique_id, &id);
  });
  const std::string bytes = process.broadcast(std::string(id.internal, sizeof(id.internal)));
  std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
  auto group = std::make_shared<NcclGroup>(api, id, process.size(), process.rank(), process.rank(), process.timeout());
  return std::make_unique<NcclCommunicator>(std::move(group), api, device);
}

}  // namespace medfuse::cluster
