#include "src/plan/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "cluster/mesh.h"
#include "src/model/medfuse_model.h"
#include "src/model/tensor_parallel.h"

namespace medfuse::plan {

std::int64_t Job::compute_bytes() const {
  if (options.precision == "bf16") return 2;
  return options.precision == "f64" ? 8 : 4;
}

std::int64_t Job::state_bytes() const { return options.precision == "f64" ? 8 : 4; }

std::int64_t Job::wide_bytes() const { return state_bytes(); }

std::int64_t Job::wire_bytes() const {
  const std::string& type = options.parallel.reduce_dtype;
  if (type == "auto") return state_bytes();
  if (type == "f64") return 8;
  return type == "f32" ? 4 : 2;
}

double Job::flops() const {
  const double peak = options.precision == "bf16"  ? machine.flops_bf16
                      : options.precision == "f64" ? machine.flops_f64
                                                   : machine.flops_f32;
  return peak * machine.matmul_share;
}

std::int64_t Job::lab_batch() const { return options.encoders.lab_batch > 0 ? options.encoders.lab_batch : options.batch; }

Portion portion(const Job& job, std::int64_t ranks) {
  const std::int64_t samples = (job.options.batch + ranks - 1) / ranks;
  const std::int64_t micro = std::min(job.options.micro_batch, samples);
  return {samples, micro, (samples + micro - 1) / micro};
}

std::vector<std::int64_t> fitting_degrees(const Job& job) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t degree = 1; degree <= std::min(job.tensor_room(), job.llama.num_attention_heads); ++degree) {
    if (job.tensor_room() % degree == 0) degrees.push_back(degree);
  }
  return degrees;
}

void check(const Job& job) {
  constexpr std::int64_t most = 1 << 20;
  if (job.nodes < 1 || job.nodes > most) usage_error("--nodes {} must lie between 1 and {}", job.nodes, most);
  if (job.per_node < 1 || job.per_node > 4096) usage_error("--gpus-per-node {} must lie between 1 and 4096", job.per_node);
  if (job.tokens < 1) usage_error("text.max_tokens = {} must be at least 1", job.tokens);
  if (job.diseases < 1) usage_error("--labels {} must be at least 1", job.diseases);
  if (job.lab_columns < 1) usage_error("labs.count = {} must be at least 1", job.lab_columns);
  const auto tensor = static_cast<int>(job.options.parallel.tensor);
  const weights::LlamaConfig& llama = job.llama;
  model::check_tensor_degree(tensor, llama.num_attention_heads, llama.num_key_value_heads, llama.intermediate_size);
  if (job.tensor_room() % tensor != 0) {
    usage_error("parallel.tensor: groups of {} do not fit into {} of {} ranks; degrees that work: {}{}", tensor,
                job.options.parallel.across_nodes ? "a world" : "nodes", job.tensor_room(),
                fmt::join(fitting_degrees(job), ", "),
                job.options.parallel.across_nodes ? "" : " (or allow slow links with parallel.across_nodes = true)");
  }
  if (job.split()) cluster::lab_rows(job.data(), tensor, job.options.parallel.lab_ranks);
}

}  // namespace medfuse::plan
