#include "cluster/nccl_communicator.h"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cluster/nccl_group.h"
#include "cluster/nccl_stream.h"
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

/// Of an operation on nothing.
class NothingToDo : public Work {
 public:
  void wait() override {}
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<NcclGroup> group, const NcclApi& api, at::Device device)
      : group_(group), api_(api), device_(device), stream_(std::make_shared<NcclStream>(std::move(group), device)) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  at::Device device() const override { return device_; }
  std::string backend() const override { return "nccl"; }
  void set_timeout(std::chrono::milliseconds timeout) override { group_->set_timeout(timeout); }

  std::unique_ptr<Work> all_reduce(const at::Tensor& tensor, Reduction reduction) override;
  std::unique_ptr<Work> broadcast(const at::Tensor& tensor, int root) override;
  std::unique_ptr<Work> all_gather(const at::Tensor& output, const at::Tensor& input) override;
  std::unique_ptr<Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input, Reduction reduction) override;
  std::unique_ptr<Work> all_to_all(const at::Tensor& output, const at::Tensor& input) override;
  std::unique_ptr<Work> send(const at::Tensor& tensor, int member) override;
  std::unique_ptr<Work> receive(const at::Tensor& tensor, int member) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int colour, int order) override;

 private:
  std::unique_ptr<Work> nothing() {
    group_->check();
    return std::make_unique<NothingToDo>();
  }

  NcclGroup::Call send_call(const at::Tensor& tensor, int member) {
    return [=, stream = stream_->stream(), send = api_.send](ncclComm_t comm) {
      return send(tensor.const_data_ptr(), static_cast<std::size_t>(tensor.numel()), nccl_type(tensor.scalar_type()),
                  member, comm, stream);
    };
  }
  NcclGroup::Call receive_call(const at::Tensor& tensor, int member) {
    return [=, stream = stream_->stream(), receive = api_.receive](ncclComm_t comm) {
      return receive(tensor.mutable_data_ptr(), static_cast<std::size_t>(tensor.numel()), nccl_type(tensor.scalar_type()),
                     member, comm, stream);
    };
  }

  std::shared_ptr<NcclGroup> group_;
  const NcclApi& api_;
  at::Device device_;
  std::shared_ptr<NcclStream> stream_;
};

std::unique_ptr<Work> NcclCommunicator::all_reduce(const at::Tensor& given, Reduction reduction) {
  check_tensor("all_reduce", given, device_);
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const std::string operation = describe(reduction == Reduction::sum ? "all_reduce (sum)" : "all_reduce (max)", tensor, size());
  return stream_->launch(operation, {tensor}, [&] {
    const bool widen = needs_widening(tensor, reduction);
    const at::Tensor wire = widen ? tensor.to(at::kFloat) : tensor;
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_reduce(wire.const_data_ptr(), wire.mutable_data_ptr(), static_cast<std::size_t>(wire.numel()),
                             nccl_type(wire.scalar_type()), nccl_operation(reduction), comm, stream_->stream());
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
  return stream_->launch(operation, {tensor}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.broadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), static_cast<std::size_t>(tensor.numel()),
                            nccl_type(tensor.scalar_type()), root, comm, stream_->stream());
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
  return stream_->launch(operation, {output, input}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_gather(input.const_data_ptr(), output.mutable_data_ptr(), static_cast<std::size_t>(input.numel()),
                             nccl_type(input.scalar_type()), comm, stream_->stream());
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
  return stream_->launch(operation, {output, input}, [&] {
    const bool widen = needs_widening(input, reduction);
    const at::Tensor wire_in = widen ? input.to(at::kFloat) : input;
    const at::Tensor wire_out = widen ? at::empty(output.sizes(), wire_in.options()) : output;
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.reduce_scatter(wire_in.const_data_ptr(), wire_out.mutable_data_ptr(),
                                 static_cast<std::size_t>(wire_out.numel()), nccl_type(wire_in.scalar_type()),
                                 nccl_operation(reduction), comm, stream_->stream());
    });
    if (widen) output.copy_(wire_out);
  });
}

std::unique_ptr<Work> NcclCommunicator::all_to_all(const at::Tensor& given_output, const at::Tensor& given_input) {
  check_tensor("all_to_all", given_output, device_);
  check_tensor("all_to_all", given_input, device_);
  check_pair("all_to_all", given_output, given_input, 1);
  check_blocks("all_to_all", given_input, size());
  check_apart("all_to_all", given_output, given_input);
  if (given_input.numel() == 0) return nothing();
  const at::Tensor output = given_output.detach(), input = given_input.detach();
  const std::string operation = describe("all_to_all", input, size());
  return stream_->launch(operation, {output, input}, [&] {
    const std::int64_t count = input.numel() / size();
    std::vector<NcclGroup::Call> calls;
    for (int r = 0; r < size(); ++r) {
      calls.push_back(send_call(input.view({-1}).narrow(0, r * count, count), r));
      calls.push_back(receive_call(output.view({-1}).narrow(0, r * count, count), r));
    }
    group_->issue_together(operation, calls);
  });
}

std::unique_ptr<Work> NcclCommunicator::send(const at::Tensor& given, int member) {
  check_tensor("send", given, device_);
  check_member("send", member, rank(), size());
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  return stream_->launch_later(describe_message("send", tensor, "to", member, size()), tensor,
                               send_call(tensor, member));
}

std::unique_ptr<Work> NcclCommunicator::receive(const at::Tensor& given, int member) {
  check_tensor("receive", given, device_);
  check_member("receive", member, rank(), size());
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  return stream_->launch_later(describe_message("receive", tensor, "from", member, size()), tensor,
                               receive_call(tensor, member));
}

void NcclCommunicator::barrier() {
  const at::Tensor token = at::zeros({1}, at::TensorOptions(device_).dtype(at::kFloat));
  const std::string operation = fmt::format("barrier among {} ranks", size());
  const auto work = stream_->launch(operation, {token}, [&] {
    group_->issue(operation, [&](ncclComm_t comm) {
      return api_.all_reduce(token.const_data_ptr(), token.mutable_data_ptr(), 1, ncclFloat32, ncclSum, comm,
                             stream_->stream());
    });
  });
  stream_->wait_on_host(*work);
}

std::unique_ptr<Communicator> NcclCommunicator::split(int colour, int order) {
  if (colour < 0) throw std::logic_error("split: a colour is not negative");
  const c10::cuda::CUDAGuard device_guard(device_);
  stream_->launch_open();
  return std::make_unique<NcclCommunicator>(group_->split(colour, order), api_, device_);
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Process& process, at::Device device, const NcclApi& api) {
  if (!device.is_cuda() || !device.has_index()) throw std::logic_error("NCCL serves a numbered CUDA device");
  const c10::cuda::CUDAGuard device_guard(device);
  launch_in_order();  // a mesh's groups work side by side, called in one order: by one thread of a rank at a time
  ncclUniqueId id{};
  together(process, [&] {
    check_nccl_version(api);
    if (process.rank() == 0) MEDFUSE_NCCL(api, get_unique_id, &id);
  });
  const std::string bytes = process.broadcast(std::string(id.internal, sizeof(id.internal)));
  std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
  // To ask for an event on a thread without a device of its own would make a context on GPU 0, from every rank there.
  const auto on_watch = [device] { c10::cuda::set_device(device.index()); };
  auto group = std::make_shared<NcclGroup>(api, id, process.size(), process.rank(), process.rank(), process.timeout(),
                                           on_watch);
  return std::make_unique<NcclCommunicator>(std::move(group), api, device);
}

}  // namespace medfuse::cluster
