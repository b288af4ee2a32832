#include "src/plan/links.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace medfuse::plan {

namespace {

/// `local`: members of the group on each node; `sharing`: groups that use a node's network at a time.
Link link(const Machine& machine, std::int64_t ranks, std::int64_t local, std::int64_t sharing) {
  Link link;
  link.ranks = ranks;
  link.nodes = (ranks + local - 1) / local;
  link.bandwidth = machine.node_bandwidth;
  link.ring_latency = static_cast<double>(ranks - link.nodes) * machine.node_latency +
                      static_cast<double>(link.nodes - 1) * machine.network_latency;
  link.tree_latency = static_cast<double>(std::min(local, ranks) - 1) * machine.node_latency;
  if (link.nodes > 1) {
    const double network = machine.network_bandwidth / static_cast<double>(sharing);
    link.bandwidth = local == 1 ? network : std::min(link.bandwidth, network);
    link.tree_latency += std::ceil(std::log2(static_cast<double>(link.nodes))) * machine.network_latency;
  }
  return link;
}

}  // namespace

double sent_bytes(Collective collective, double bytes, std::int64_t ranks) {
  if (ranks < 1) throw std::logic_error("sent_bytes: a group of no ranks");
  const double once = static_cast<double>(ranks - 1) / static_cast<double>(ranks) * bytes;
  return collective == Collective::all_reduce ? 2 * once : once;
}

double Link::seconds(Collective collective, double bytes) const {
  if (ranks == 1) return 0;
  const double latency =
      collective == Collective::all_reduce ? 2 * std::min(ring_latency, tree_latency) : ring_latency;
  return latency + sent_bytes(collective, bytes, ranks) / bandwidth;
}

Link tensor_link(const Machine& machine, const Placement& p) {
  // A group that begins within a node may have as few as this on each of its nodes.
  return link(machine, p.tensor, std::gcd(p.tensor, p.per_node), 1);
}

Link data_link(const Machine& machine, const Placement& p, std::int64_t ranks) {
  const std::int64_t local = std::max<std::int64_t>(1, p.per_node / p.tensor);
  return link(machine, ranks, local, std::min(p.tensor, p.per_node));
}

Link data_link(const Machine& machine, const Placement& p) { return data_link(machine, p, p.data()); }

Link neighbours_link(const Machine& machine, const Placement& p, std::int64_t ranks) {
  return link(machine, ranks, p.per_node, 1);
}

}  // namespace medfuse::plan
