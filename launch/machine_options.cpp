#include "launch/machine_options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "launch/option_table.h"

namespace medfuse::launch {

namespace fs = std::filesystem;

namespace {

std::string neighbours(const fs::path& file) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(file.parent_path().empty() ? "." : file.parent_path(), ignored)) {
    if (entry.path().extension() == ".cfg") names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) return "configs/machines/ of the checkout holds some";
  return fmt::format("there are {}", fmt::join(names, ", "));
}

}  // namespace

plan::Machine read_machine(const std::string& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) usage_error("--machine {}: no such file; {}", file, neighbours(file));
  plan::Machine m;
  // 0 would be a number, too.
  m.context_mib = m.slack = m.operation_seconds = m.node_latency = m.network_latency = std::nan("");
  m.ranks = 0;
  OptionTable table;
  table.add("name", &m.name, "for tables");
  table.add("cuda", &m.cuda, "GPUs with NCCL; else CPU ranks over MPI");
  table.add("ranks", &m.ranks, "GPUs, or cores that take a rank, of a node");
  table.add("memory_gib", &m.memory_gib, "of a rank");
  table.add("context_mib", &m.context_mib, "of it for the driver, libraries and communicators");
  table.add("slack", &m.slack, "share of the tensors' bytes that the allocator loses");
  table.add("memory_bandwidth", &m.memory_bandwidth, "attainable by a rank, bytes/s");
  table.add("operation_seconds", &m.operation_seconds, "least time of a tensor operation");
  table.add("flops.f64", &m.flops_f64, "peak of a rank in products of this type, FLOP/s");
  table.add("flops.f32", &m.flops_f32, "the same");
  table.add("flops.bf16", &m.flops_bf16, "the same");
  table.add("flops.attainable", &m.matmul_share, "share of that peak");
  table.add("node.bandwidth", &m.node_bandwidth, "of a rank within its node, bytes/s in one direction");
  table.add("node.latency", &m.node_latency, "of a message there, seconds");
  table.add("network.bandwidth", &m.network_bandwidth, "of a whole node to others, bytes/s in one direction");
  table.add("network.latency", &m.network_latency, "of a message there, seconds");
  table.parse({}, file);
  plan::check(m, file);
  return m;
}

}  // namespace medfuse::launch
