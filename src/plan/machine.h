// What a machine can do, as far as a plan needs it. configs/machines/ holds descriptions.
#pragma once

#include <cstdint>
#include <string>

namespace medfuse::plan {

struct Machine {
  std::string name = "unnamed";
  bool cuda = true;               ///< GPUs with NCCL; else CPU ranks over MPI with the kernels of src/ops
  std::int64_t ranks = 8;         ///< to a node: GPUs, or cores that take a rank
  double memory_gib = 0;          ///< of a rank
  double context_mib = 0;         ///< of it for the driver, libraries and communicators
  double slack = 0;               ///< share of the tensors' bytes that the allocator loses
  double flops_f64 = 0;           ///< peak of a rank, FLOP/s, by type of the products
  double flops_f32 = 0;
  double flops_bf16 = 0;
  double matmul_share = 1;        ///< of that peak which large products attain
  double memory_bandwidth = 0;    ///< attainable by a rank, bytes/s
  double operation_seconds = 0;   ///< the least time of one tensor operation
  double node_bandwidth = 0;      ///< of a rank to others of its node, bytes/s in one direction
  double node_latency = 0;        ///< of one message there, seconds
  double network_bandwidth = 0;   ///< of a whole node to other nodes, bytes/s in one direction
  double network_latency = 0;
};

/// Throws Error(usage) naming the key and `file` for a number that no machine has. Not a number: missing.
void check(const Machine& machine, const std::string& file);

}  // namespace medfuse::plan
