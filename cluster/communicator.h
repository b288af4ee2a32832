// What ranks say to each other: collectives and messages on tensors, behind one interface. The MPI one serves host
// tensors, the NCCL one device tensors on its own stream. Model and training code sees this header only, never MPI or
// NCCL.
//
// Whose fault is an error: a tensor of a wrong device, layout, type or size is the caller's and throws std::logic_error
// at once, before anything is sent. A peer that died, hung past the timeout, or an error of the network is nobody's here:
// Error(communication), naming the rank and the operation.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

namespace medfuse::cluster {

enum class Reduction { sum, max };

/// A collective or message under way, which goes on while the program computes. Its tensors stay alive, and must not be
/// touched, until wait() has returned.
class Work {
 public:
  virtual ~Work() = default;
  /// Blocks until the result is usable by host code (MPI) or by later work on the current stream (NCCL).
  /// Throws Error(communication) on a failure or timeout.
  virtual void wait() = 0;
};

/// A group of ranks. Every member calls the same collectives in the same order. Tensors are contiguous, on `device()`,
/// of type f32, f64, bf16, f16, int64 or uint8; bf16 and f16 are summed in f32 and rounded once.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual at::Device device() const = 0;
  virtual std::string backend() const = 0;  ///< "mpi" or "nccl"

  /// In place, over all members.
  virtual std::unique_ptr<Work> all_reduce(const at::Tensor& tensor, Reduction reduction) = 0;
  /// In place: `root`'s content everywhere.
  virtual std::unique_ptr<Work> broadcast(const at::Tensor& tensor, int root) = 0;
  /// `output` has size() times as many elements as `input`: the members' inputs in rank order.
  virtual std::unique_ptr<Work> all_gather(const at::Tensor& output, const at::Tensor& input) = 0;
  /// `input` has size() times as many elements as `output`: block r of the reduction goes to rank r.
  virtual std::unique_ptr<Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input, Reduction reduction) = 0;
  /// Both are size() blocks of equal length: block r of `input` goes to member r, block r of `output` comes from it. The
  /// two share no memory.
  virtual std::unique_ptr<Work> all_to_all(const at::Tensor& output, const at::Tensor& input);
  /// Returns once every member has called it.
  virtual void barrier() = 0;

  /// A message to another member, which receives it with the same type and number of elements. Messages from one member
  /// to another arrive in the order in which both started them, and have nothing to do with the other members. A send is
  /// not finished before its receiver has come: two members that send to each other start both before they wait for
  /// either. Over NCCL, two members start all that they share, collectives as well, in the same order.
  virtual std::unique_ptr<Work> send(const at::Tensor& tensor, int member);
  virtual std::unique_ptr<Work> receive(const at::Tensor& tensor, int member);

  /// Members of the same `colour` form a new group, ordered by `order` and then by rank. Collective over all members.
  virtual std::unique_ptr<Communicator> split(int colour, int order) = 0;

  /// How long a collective may take before it is called hung (default 10 minutes).
  virtual void set_timeout(std::chrono::milliseconds timeout) = 0;
};

// What a stand-in that wraps another communicator for a few operations may leave out.
inline std::unique_ptr<Work> Communicator::all_to_all(const at::Tensor&, const at::Tensor&) {
  throw std::logic_error("all_to_all: not carried by this communicator");
}
inline std::unique_ptr<Work> Communicator::send(const at::Tensor&, int) {
  throw std::logic_error("send: not carried by this communicator");
}
inline std::unique_ptr<Work> Communicator::receive(const at::Tensor&, int) {
  throw std::logic_error("receive: not carried by this communicator");
}

}  // namespace medfuse::cluster
