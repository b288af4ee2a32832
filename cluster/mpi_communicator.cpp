#include "cluster/mpi_communicator.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cluster/exchange.h"
#include "cluster/reduce_in_order.h"
#include "cluster/shared_collectives.h"
#include "cluster/tensor_checks.h"

namespace medfuse::cluster {

namespace {

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return MPI_FLOAT;
    case at::kDouble: return MPI_DOUBLE;
    case at::kLong: return MPI_INT64_T;
    case at::kByte: return MPI_UINT8_T;
    default: return MPI_UINT16_T;  // bf16 and f16 travel as they are; only sums need to know them
  }
}

class MpiWork : public Work {
 public:
  MpiWork(std::shared_ptr<Task> task, std::chrono::milliseconds timeout, int world_rank)
      : task_(std::move(task)), timeout_(timeout), world_rank_(world_rank), exceptions_(std::uncaught_exceptions()) {}

  /// A forgotten collective is waited for. While an exception unwinds it is left to the progress list instead, which
  /// keeps its tensors: a peer may never come.
  ~MpiWork() override {
    if (!task_ || std::uncaught_exceptions() > exceptions_) return;
    try {
      wait();
    } catch (...) {  // the next collective will fail as well, and says so where it can
    }
  }

  void wait() override {
    if (!task_) return;
    const auto task = std::exchange(task_, nullptr);
    Progress::instance().wait(*task, timeout_, world_rank_);
  }

 private:
  std::shared_ptr<Task> task_;  // null: nothing to do, or waited for
  std::chrono::milliseconds timeout_;
  int world_rank_;
  int exceptions_;
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, const MpiOptions& options, std::chrono::milliseconds timeout)
      : group_(std::make_shared<MpiGroup>(comm, options.largest_message)), options_(options), timeout_(timeout) {
    if (size() == 1 || options.slot_bytes == 0) return;
    channel_ = SharedChannel::open(group_, options.slot_bytes, options.read_directly, timeout);
  }

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  at::Device device() const override { return at::kCPU; }
  std::string backend() const override { return "mpi"; }
  void set_timeout(std::chrono::milliseconds timeout) override { timeout_ = timeout; }

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
  std::unique_ptr<Work> start(std::string operation, std::vector<Exchange::Stage> stages) {
    return start(std::move(operation), std::move(stages), group_->next_tag());
  }
  std::unique_ptr<Work> start(std::string operation, std::vector<Exchange::Stage> stages, int tag) {
    return work(Exchange::start(group_, std::move(operation), std::move(stages), tag));
  }
  std::unique_ptr<Work> work(std::shared_ptr<Task> task) {
    return std::make_unique<MpiWork>(std::move(task), timeout_, group_->own_world_rank());
  }
  std::unique_ptr<Work> nothing() { return work(nullptr); }
  bool is_short(std::int64_t gathered_bytes) const { return gathered_bytes <= options_.direct_bytes; }

  std::shared_ptr<MpiGroup> group_;
  std::shared_ptr<SharedChannel> channel_;  ///< null: its members do not share memory
  MpiOptions options_;
  std::chrono::milliseconds timeout_;
};

/// Memory of the elements [begin, begin + count) of a contiguous tensor.
char* at_element(const at::Tensor& tensor, std::int64_t begin) {
  return static_cast<char*>(tensor.mutable_data_ptr()) + begin * static_cast<std::int64_t>(tensor.element_size());
}

std::int64_t bytes_of(const at::Tensor& tensor) { return static_cast<std::int64_t>(tensor.nbytes()); }

/// Reduces the rows of `others` into `result`, with `own` in the place of row `me`.
void reduce_rows(const at::Tensor& result, const at::Tensor& others, int me, const at::Tensor& own, Reduction reduction) {
  std::vector<const void*> parts;
  for (std::int64_t r = 0; r < others.size(0); ++r) {
    parts.push_back(r == me ? own.const_data_ptr() : at_element(others, r * others.size(1)));
  }
  reduce_in_order(result.mutable_data_ptr(), parts, result.numel(), result.scalar_type(), reduction);
}

std::unique_ptr<Work> MpiCommunicator::all_reduce(const at::Tensor& given, Reduction reduction) {
  check_tensor("all_reduce", given, device());
  const int n = size(), me = rank();
  const std::int64_t count = given.numel();
  if (n == 1 || count == 0) return nothing();
  const std::string operation = describe(reduction == Reduction::sum ? "all_reduce (sum)" : "all_reduce (max)", given, n);
  const bool direct = is_short(bytes_of(given) * n);
  if (channel_ && !direct) return work(shared_all_reduce(channel_, operation, given, reduction));
  const at::Tensor tensor = given.detach().view({-1});
  const MPI_Datatype type = mpi_type(tensor.scalar_type());
  if (direct) {
    // Short: everyone gets everything, one latency instead of two.
    const at::Tensor all = at::empty({n, count}, tensor.options());
    return start(operation, {
      [=](Exchange& e) {
        for_each_other(me, n, [&](int to, int from) {
          e.receive(from, at_element(all, from * count), count, type);
          e.send(to, tensor.const_data_ptr(), count, type);
        });
      },
      [=](Exchange&) { reduce_rows(tensor, all, me, tensor, reduction); }});
  }

  // Long: rank r reduces block r of everyone, then hands it out.
  const std::int64_t block = (count + n - 1) / n;
  const auto begin = [=](int r) { return std::min(r * block, count); };
  const auto length = [=](int r) { return begin(r + 1) - begin(r); };
  const at::Tensor others = at::empty({n, length(me)}, tensor.options());
  return start(operation, {
    [=](Exchange& e) {
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, at_element(others, from * length(me)), length(me), type);
        e.send(to, at_element(tensor, begin(to)), length(to), type);
      });
    },
    [=](Exchange& e) {
      const c10::InferenceMode no_grad;
      const at::Tensor own = tensor.narrow(0, begin(me), length(me));
      reduce_rows(own, others, me, own, reduction);
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, at_element(tensor, begin(from)), length(from), type);
        e.send(to, at_element(tensor, begin(me)), length(me), type);
      });
    }});
}

std::unique_ptr<Work> MpiCommunicator::broadcast(const at::Tensor& given, int root) {
  check_tensor("broadcast", given, device());
  check_root("broadcast", root, size());
  if (size() == 1 || given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const MPI_Datatype type = mpi_type(tensor.scalar_type());
  const Tree tree = broadcast_tree(rank(), size(), root);
  return start(describe("broadcast", tensor, size()), {
    [=](Exchange& e) {
      if (tree.parent >= 0) e.receive(tree.parent, tensor.mutable_data_ptr(), tensor.numel(), type);
    },
    [=](Exchange& e) {
      for (const int child : tree.children) e.send(child, tensor.const_data_ptr(), tensor.numel(), type);
    }});
}

std::unique_ptr<Work> MpiCommunicator::all_gather(const at::Tensor& given_output, const at::Tensor& given_input) {
  check_tensor("all_gather", given_output, device());
  check_tensor("all_gather", given_input, device());
  check_pair("all_gather", given_output, given_input, size());
  const int n = size(), me = rank();
  const std::int64_t count = given_input.numel();
  const std::string operation = describe("all_gather", given_output, n);
  if (channel_ && !is_short(bytes_of(given_output))) {
    return work(shared_all_gather(channel_, operation, given_output, given_input));
  }
  const at::Tensor output = given_output.detach().view({-1}), input = given_input.detach().view({-1});
  const MPI_Datatype type = mpi_type(input.scalar_type());
  return start(operation, {
    [=](Exchange& e) {
      const c10::InferenceMode no_grad;
      output.narrow(0, me * count, count).copy_(input);
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, at_element(output, from * count), count, type);
        e.send(to, input.const_data_ptr(), count, type);
      });
    }});
}

std::unique_ptr<Work> MpiCommunicator::reduce_scatter(const at::Tensor& given_output, const at::Tensor& given_input,
                                                      Reduction reduction) {
  check_tensor("reduce_scatter", given_output, device());
  check_tensor("reduce_scatter", given_input, device());
  check_pair("reduce_scatter", given_input, given_output, size());
  const int n = size(), me = rank();
  const std::int64_t count = given_output.numel();
  const std::string operation =
      describe(reduction == Reduction::sum ? "reduce_scatter (sum)" : "reduce_scatter (max)", given_input, n);
  if (channel_ && !is_short(bytes_of(given_input))) {
    return work(shared_reduce_scatter(channel_, operation, given_output, given_input, reduction));
  }
  const at::Tensor output = given_output.detach().view({-1}), input = given_input.detach().view({n, count});
  const at::Tensor others = at::empty({n, count}, input.options());
  const MPI_Datatype type = mpi_type(input.scalar_type());
  return start(operation, {
    [=](Exchange& e) {
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, at_element(others, from * count), count, type);
        e.send(to, at_element(input, to * count), count, type);
      });
    },
    [=](Exchange&) { reduce_rows(output, others, me, input[me], reduction); }});
}

std::unique_ptr<Work> MpiCommunicator::all_to_all(const at::Tensor& given_output, const at::Tensor& given_input) {
  check_tensor("all_to_all", given_output, device());
  check_tensor("all_to_all", given_input, device());
  check_pair("all_to_all", given_output, given_input, 1);
  check_blocks("all_to_all", given_input, size());
  check_apart("all_to_all", given_output, given_input);
  const int n = size(), me = rank();
  const std::int64_t count = given_input.numel() / n;
  const at::Tensor output = given_output.detach().view({-1}), input = given_input.detach().view({-1});
  const MPI_Datatype type = mpi_type(input.scalar_type());
  return start(describe("all_to_all", input, n), {
    [=](Exchange& e) {
      const c10::InferenceMode no_grad;
      output.narrow(0, me * count, count).copy_(input.narrow(0, me * count, count));
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, at_element(output, from * count), count, type);
        e.send(to, at_element(input, to * count), count, type);
      });
    }});
}

std::unique_ptr<Work> MpiCommunicator::send(const at::Tensor& given, int member) {
  check_tensor("send", given, device());
  check_member("send", member, rank(), size());
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const auto stage = [=](Exchange& e) {
    e.send_to_receiver(member, tensor.const_data_ptr(), tensor.numel(), mpi_type(tensor.scalar_type()));
  };
  return start(describe_message("send", tensor, "to", member, size()), {stage}, group_->next_tag_to(member));
}

std::unique_ptr<Work> MpiCommunicator::receive(const at::Tensor& given, int member) {
  check_tensor("receive", given, device());
  check_member("receive", member, rank(), size());
  if (given.numel() == 0) return nothing();
  const at::Tensor tensor = given.detach();
  const auto stage = [=](Exchange& e) {
    e.receive(member, tensor.mutable_data_ptr(), tensor.numel(), mpi_type(tensor.scalar_type()));
  };
  return start(describe_message("receive", tensor, "from", member, size()), {stage}, group_->next_tag_from(member));
}

void MpiCommunicator::barrier() { start(fmt::format("barrier among {} ranks", size()), {meet(group_)})->wait(); }

std::unique_ptr<Communicator> MpiCommunicator::split(int colour, int order) {
  if (colour < 0) throw std::logic_error("split: a colour is not negative");
  barrier();  // MPI_Comm_split blocks: enter it only when all are here
  MPI_Comm part;
  MEDFUSE_MPI(MPI_Comm_split(group_->comm(), colour, order, &part));
  return std::make_unique<MpiCommunicator>(part, options_, timeout_);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(Process& process, const MpiOptions& options) {
  process.barrier();
  MPI_Comm world;
  MEDFUSE_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &world));
  return std::make_unique<MpiCommunicator>(world, options, process.timeout());
}

}  // namespace medfuse::cluster
