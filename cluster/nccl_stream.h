// The stream beside the computation on which one NCCL communicator works, and the handles of what is under way there.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/communicator.h"
#include "cluster/nccl_group.h"

namespace medfuse::cluster {

class NcclStream : public std::enable_shared_from_this<NcclStream> {
 public:
  NcclStream(std::shared_ptr<NcclGroup> group, at::Device device);
  ~NcclStream();

  NcclGroup& group() { return *group_; }
  at::Device device() const { return device_; }
  cudaStream_t stream() const { return stream_.stream(); }

  /// Runs `body`, which issues one operation on these tensors, after what the caller's stream holds so far.
  std::unique_ptr<Work> launch(const std::string& operation, const std::vector<at::Tensor>& tensors,
                               const std::function<void()>& body);
  /// Asks for one send or receive. Those asked for in a row go to NCCL as one group, when one of them is waited for or
  /// another operation follows: a send holds up this stream until its receiver has come, so two members that each launch
  /// a send and then a receive would wait for ever.
  std::unique_ptr<Work> launch_later(const std::string& operation, const at::Tensor& tensor, NcclGroup::Call call);
  /// Launches what was only asked for.
  void launch_open();
  /// Waits on the host for one of these, without a call that could hang for ever.
  void wait_on_host(Work& work);

 private:
  struct Batch;
  class Handle;

  void follow(const std::vector<at::Tensor>& tensors);
  void run(Batch& batch, const std::function<void()>& body);

  std::shared_ptr<NcclGroup> group_;
  at::Device device_;
  c10::cuda::CUDAStream stream_;
  std::shared_ptr<Batch> open_;  ///< sends and receives that were asked for only; null if there are none
};

}  // namespace medfuse::cluster
