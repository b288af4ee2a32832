#include "cluster/tensor_degree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/error.h"

namespace medfuse::cluster {

namespace {

std::int64_t world_of(const DegreeLimits& limits) {
  return std::accumulate(limits.nodes.begin(), limits.nodes.end(), std::int64_t{0});
}

/// What is in the way of a degree but the split layout, in words that follow "parallel.tensor: "; empty: nothing.
std::string obstacle(std::int64_t degree, const DegreeLimits& limits) {
  const std::int64_t world = world_of(limits);
  if (degree < 1 || world % degree != 0) return fmt::format("{} does not divide the {} ranks", degree, world);
  for (const std::int64_t ranks : limits.nodes) {
    if (limits.across_nodes || ranks % degree == 0) continue;
    return fmt::format("groups of {} do not fit into a node of {} rank{}", degree, ranks, ranks == 1 ? "" : "s");
  }
  const std::string of_model = limits.model ? limits.model(degree) : "";
  return of_model.empty() ? "" : fmt::format("{} {}", degree, of_model);
}

/// Whether whole groups are left for both encoders.
bool leaves_groups(std::int64_t degree, const DegreeLimits& limits) {
  if (!limits.lab_ranks) return true;
  const std::int64_t world = world_of(limits), labs = *limits.lab_ranks;
  return world / degree >= 2 && labs >= 0 && labs < world && labs % degree == 0;
}

std::string list(const std::vector<std::int64_t>& degrees) {
  return degrees.empty() ? "none" : fmt::format("{}", fmt::join(degrees, ", "));
}

}  // namespace

std::vector<std::int64_t> tensor_degrees(const DegreeLimits& limits) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t degree = 1; degree <= world_of(limits); ++degree) {
    if (obstacle(degree, limits).empty() && leaves_groups(degree, limits)) degrees.push_back(degree);
  }
  return degrees;
}

void check_tensor_degree(std::int64_t degree, const DegreeLimits& limits) {
  const std::string why = obstacle(degree, limits);
  if (why.empty()) return;
  const std::vector<std::int64_t> working = tensor_degrees(limits);
  DegreeLimits wider = limits;
  wider.across_nodes = true;
  const std::vector<std::int64_t> all = tensor_degrees(wider);
  std::vector<std::int64_t> more;
  std::set_difference(all.begin(), all.end(), working.begin(), working.end(), std::back_inserter(more));
  const std::string hint = "; with parallel.across_nodes = true (slow links within a group) also " + list(more);
  usage_error("parallel.tensor: {}; degrees that work: {}{}", why, list(working), more.empty() ? "" : hint);
}

}  // namespace medfuse::cluster
