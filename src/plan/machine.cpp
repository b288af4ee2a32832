#include "src/plan/machine.h"

#include <cmath>

#include "base/error.h"

namespace medfuse::plan {

void check(const Machine& m, const std::string& file) {
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value)) usage_error("{}: {} = {} must be greater than 0", file, key, value);
  };
  // Somebody who thinks in GB/s or TFLOP/s would get a plan of years.
  const auto rate = [&](const char* key, double value, const char* unit) {
    positive(key, value);
    if (value < 1e6) usage_error("{}: {} = {} is less than 1e6 {}: give {}", file, key, value, unit, unit);
  };
  const auto not_negative = [&](const char* key, double value) {
    if (std::isnan(value)) usage_error("{}: {} is missing", file, key);
    if (!(value >= 0) || !std::isfinite(value)) usage_error("{}: {} = {} must not be negative", file, key, value);
  };
  positive("ranks", static_cast<double>(m.ranks));
  positive("memory_gib", m.memory_gib);
  rate("flops.f64", m.flops_f64, "FLOP/s");
  rate("flops.f32", m.flops_f32, "FLOP/s");
  rate("flops.bf16", m.flops_bf16, "FLOP/s");
  positive("flops.attainable", m.matmul_share);
  rate("memory_bandwidth", m.memory_bandwidth, "bytes/s");
  rate("node.bandwidth", m.node_bandwidth, "bytes/s");
  rate("network.bandwidth", m.network_bandwidth, "bytes/s");
  not_negative("context_mib", m.context_mib);
  not_negative("slack", m.slack);
  not_negative("operation_seconds", m.operation_seconds);
  not_negative("node.latency", m.node_latency);
  not_negative("network.latency", m.network_latency);
  if (m.matmul_share > 1) usage_error("{}: flops.attainable = {} is a share of the peak, at most 1", file, m.matmul_share);
}

}  // namespace medfuse::plan
