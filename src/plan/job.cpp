#include "src/plan/job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
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

bool Job::has_encoders() const {
  return std::find(options.stages.begin(), options.stages.end(), "encoders") != options.stages.end();
}

std::int64_t Job::lab_batch() const { return options.encoders.lab_batch > 0 ? options.encoders.lab_batch : options.batch; }

Portion portion(const Job& job, std::int64_t ranks) {
  const std::int64_t samples = (job.options.batch + ranks - 1) / ranks;
  const std::int64_t micro = std::min(job.options.micro_batch, samples);
  return {samples, micro, (samples + micro - 1) / micro};
}

namespace {

std::string obstacle_of(const Job& job, std::int64_t degree) {
  return model::degree_obstacle(degree, job.llama.num_attention_heads, job.llama.num_key_value_heads,
                                job.llama.intermediate_size);
}

/// Of those that fit, the ones into which the model can be split and that leave whole groups for both encoders. Not by
/// cluster::tensor_degrees(), which looks at every degree up to the ranks: here these may be billions.
std::vector<std::int64_t> working_degrees(const Job& job) {
  const std::int64_t lab_ranks = job.options.parallel.lab_ranks;
  std::vector<std::int64_t> degrees = fitting_degrees(job);
  std::erase_if(degrees, [&](std::int64_t degree) {
    const bool groups = !job.split() || (job.ranks() >= 2 * degree && lab_ranks < job.ranks() && lab_ranks % degree == 0);
    return !groups || !obstacle_of(job, degree).empty();
  });
  return degrees;
}

std::string list(const std::vector<std::int64_t>& degrees) { return fmt::format("{}", fmt::join(degrees, ", ")); }

void check_degree(const Job& job) {
  const std::int64_t degree = job.options.parallel.tensor;
  std::string why = obstacle_of(job, degree);
  if (!why.empty()) {
    why = fmt::format("{} {}", degree, why);
  } else if (job.tensor_room() % degree != 0) {
    why = fmt::format("groups of {} do not fit into {} of {} ranks", degree,
                      job.options.parallel.across_nodes ? "a world" : "nodes", job.tensor_room());
  } else {
    return;
  }
  Job wider = job;
  wider.options.parallel.across_nodes = true;
  const std::vector<std::int64_t> working = working_degrees(job), all = working_degrees(wider);
  std::vector<std::int64_t> more;
  std::set_difference(all.begin(), all.end(), working.begin(), working.end(), std::back_inserter(more));
  usage_error("parallel.tensor: {}; degrees that work: {}{}", why, working.empty() ? "none" : list(working),
              more.empty() ? "" : "; with parallel.across_nodes = true (slow links within a group) also " + list(more));
}

}  // namespace

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
  check_degree(job);
  if (job.split()) cluster::lab_rows(job.data(), job.options.parallel.tensor, job.options.parallel.lab_ranks);
}

}  // namespace medfuse::plan
