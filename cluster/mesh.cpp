#include "cluster/mesh.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace medfuse::cluster {

namespace {

/// Ranks of each node, nodes in the order of their lowest rank.
std::vector<std::vector<int>> ranks_by_node(const std::vector<std::string>& hosts) {
  std::vector<std::vector<int>> nodes;
  std::map<std::string, std::size_t> known;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    const auto [place, is_new] = known.emplace(hosts[rank], nodes.size());
    if (is_new) nodes.emplace_back();
    nodes[place->second].push_back(static_cast<int>(rank));
  }
  return nodes;
}

DegreeLimits limits_of(const std::vector<std::vector<int>>& nodes, const MeshOptions& options) {
  DegreeLimits limits{.across_nodes = options.across_nodes, .lab_ranks = options.lab_ranks, .model = options.model};
  for (const auto& ranks : nodes) limits.nodes.push_back(std::ssize(ranks));
  return limits;
}

}  // namespace

std::int64_t lab_rows(std::int64_t data, std::int64_t tensor, std::int64_t lab_ranks) {
  const std::int64_t world = data * tensor;
  if (data < 2) {
    usage_error("parallel.layout: split needs at least {} ranks, one tensor group for the text and one for the labs; there "
                "are {}: start more, or take interleaved", 2 * tensor, world);
  }
  if (lab_ranks == 0) return std::max<std::int64_t>(1, (data + 4) / 8);
  if (lab_ranks < 0 || lab_ranks >= world || lab_ranks % tensor != 0) {
    usage_error("parallel.lab_ranks: {} of {} ranks leave no whole groups of {} for the text encoder; numbers that work: {}{} "
                "to {}, or 0 to have it chosen", lab_ranks, world, tensor,
                tensor == 1 ? "" : fmt::format("multiples of {} from ", tensor), tensor, world - tensor);
  }
  return lab_ranks / tensor;
}

MeshLayout lay_out_mesh(const std::vector<std::string>& hosts, const MeshOptions& options) {
  const int world = static_cast<int>(hosts.size());
  if (world < 1) throw std::logic_error("a mesh of no ranks");
  const int tensor = options.tensor;
  const auto nodes = ranks_by_node(hosts);
  check_tensor_degree(tensor, limits_of(nodes, options));
  MeshLayout layout{world / tensor, tensor, std::vector<MeshPlace>(hosts.size())};
  if (options.lab_ranks) layout.lab_rows = static_cast<int>(lab_rows(layout.data, tensor, *options.lab_ranks));
  int next = 0;
  for (const auto& ranks : nodes) {
    for (const int rank : ranks) {
      const int place = tensor == 1 ? rank : next++;
      layout.places[static_cast<std::size_t>(rank)] = {place / tensor, place % tensor};
    }
  }
  return layout;
}

std::string rank_map(const MeshLayout& layout, const std::vector<std::string>& hosts) {
  constexpr std::size_t shown = 16;
  const auto nodes = ranks_by_node(hosts);
  std::string text = fmt::format("mesh: {} ranks = {} data x {} tensor, {} node{}", hosts.size(), layout.data,
                                 layout.tensor, nodes.size(), nodes.size() == 1 ? "" : "s");
  if (layout.lab_rows > 0) {
    text += fmt::format("; encoder stage: {} data x {} tensor for the text, {} for the labs", layout.first_lab_row(),
                        layout.tensor, layout.lab_rows * layout.tensor);
  }
  text += "\n";
  for (std::size_t n = 0; n < std::min(nodes.size(), shown); ++n) {
    text += "  " + hosts[static_cast<std::size_t>(nodes[n].front())] + ":";
    for (std::size_t i = 0; i < std::min(nodes[n].size(), shown); ++i) {
      const int rank = nodes[n][i];
      const MeshPlace& place = layout.places[static_cast<std::size_t>(rank)];
      text += fmt::format("{} rank {} (data {}, tensor {}{})", i == 0 ? "" : ",", rank, place.data, place.tensor,
                          layout.for_labs(place) ? ", labs" : "");
    }
    if (nodes[n].size() > shown) text += fmt::format(" and {} more", nodes[n].size() - shown);
    text += "\n";
  }
  if (nodes.size() > shown) text += fmt::format("  and {} more nodes\n", nodes.size() - shown);
  return text;
}

MeshGroups::MeshGroups(Communicator& world, const MeshLayout& layout) : world_(world), data_(&world), tensor_(&world) {
  if (std::ssize(layout.places) != world.size()) throw std::logic_error("a mesh of another number of ranks");
  const MeshPlace& place = layout.places[static_cast<std::size_t>(world.rank())];
  // Where one dimension is all of the world its group is the world itself, in the world's order.
  const bool in_order = std::is_sorted(layout.places.begin(), layout.places.end(), [](const auto& a, const auto& b) {
    return std::pair(a.data, a.tensor) < std::pair(b.data, b.tensor);
  });
  if (layout.tensor != 1 || !in_order) {
    own_data_ = world.split(place.tensor, place.data);
    data_ = own_data_.get();
  }
  if (layout.data != 1 || !in_order) {
    own_tensor_ = world.split(place.data, place.tensor);
    tensor_ = own_tensor_.get();
  }
  task_ = data_;
  if (layout.lab_rows > 0) {
    const int colour = layout.for_labs(place) ? layout.tensor : place.tensor;
    own_task_ = world.split(colour, place.data * layout.tensor + place.tensor);
    task_ = own_task_.get();
  }
}

}  // namespace medfuse::cluster
