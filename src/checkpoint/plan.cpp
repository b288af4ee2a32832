#include "src/checkpoint/plan.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "src/checkpoint/dtype.h"

namespace medfuse::checkpoint {
using nlohmann::json;

namespace {

constexpr std::int64_t kSmallestPiece = 1 << 20;  // bytes; less is not worth a dataset of its own

struct Holder {
  std::size_t rank;
  std::size_t block;
};

/// A tensor with its distinct blocks and who holds them.
struct Held {
  TensorInfo tensor;
  std::map<std::pair<Shape, Shape>, std::vector<Holder>> blocks;
};

struct Piece {
  const std::vector<Holder>* holders;
  std::int64_t begin;
  std::int64_t end;
  std::int64_t bytes;
};

[[noreturn]] void reject(const std::string& name, const std::string& what) {
  throw std::logic_error("checkpoint: tensor " + name + ": " + what);
}

void check_name(const std::string& name) {
  bool fit = !name.empty() && name.find('@') == std::string::npos && name.find('\0') == std::string::npos;
  std::size_t begin = 0;
  while (fit && begin <= name.size()) {  // the parts between '/' are links in the HDF5 file
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    fit = !part.empty() && part != "." && part != "..";
    begin = end + 1;
  }
  if (!fit) reject(name, "is no name for a tensor");
}

std::map<std::string, Held> collect(const std::vector<std::vector<HeldBlock>>& held) {
  std::map<std::string, Held> all;
  for (std::size_t rank = 0; rank < held.size(); ++rank) {
    for (std::size_t i = 0; i < held[rank].size(); ++i) {
      const HeldBlock& block = held[rank][i];
      Held& tensor = all[block.tensor.name];
      if (tensor.blocks.empty()) {
        check_name(block.tensor.name);
        tensor.tensor = block.tensor;
      }
      if (tensor.tensor.dtype != block.tensor.dtype || tensor.tensor.shape != block.tensor.shape) {
        reject(block.tensor.name, "type or shape differ between ranks");
      }
      if (!inside(block.box, block.tensor.shape)) reject(block.tensor.name, "a block lies outside it");
      auto& holders = tensor.blocks[{block.box.offset, block.box.extent}];
      if (!holders.empty() && holders.back().rank == rank) reject(block.tensor.name, "is given twice by one rank");
      holders.push_back({rank, i});
    }
  }
  for (const auto& [name, tensor] : all) {
    std::vector<Box> boxes;
    for (const auto& [block, holders] : tensor.blocks) boxes.push_back({block.first, block.second});
    if (!tile(boxes, tensor.tensor.shape)) reject(name, "the ranks' blocks do not make it up");
    for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (all.contains(name.substr(0, slash))) reject(name, name.substr(0, slash) + " is a tensor, too");
    }
  }
  return all;
}

}  // namespace

Plan make_plan(const std::vector<std::vector<HeldBlock>>& held) {
  const std::map<std::string, Held> all = collect(held);
  Plan plan;
  std::vector<Piece> pieces;
  for (const auto& [name, tensor] : all) {
    plan.tensors.push_back(tensor.tensor);
    for (const auto& [block, holders] : tensor.blocks) {
      const Shape& extent = block.second;
      const std::int64_t bytes =
          volume(extent).value() * dtype_bytes(tensor.tensor.dtype);
      if (bytes == 0) continue;
      const std::int64_t rows = extent.empty() ? 1 : extent[0];
      const std::int64_t most = (bytes + kSmallestPiece - 1) / kSmallestPiece;
      const std::int64_t cuts = std::min({static_cast<std::int64_t>(holders.size()), rows, most});
      for (std::int64_t i = 0; i < cuts; ++i) {
        const std::int64_t begin = rows * i / cuts, end = rows * (i + 1) / cuts;
        pieces.push_back({&holders, begin, end, bytes / rows * (end - begin)});
      }
    }
  }
  // The largest first, each to the holder that has least to write so far.
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.bytes > b.bytes; });
  plan.assignments.resize(held.size());
  std::vector<std::int64_t> load(held.size(), 0);
  for (const Piece& piece : pieces) {
    const Holder& holder =
        *std::min_element(piece.holders->begin(), piece.holders->end(),
                          [&](const Holder& a, const Holder& b) { return load[a.rank] < load[b.rank]; });
    load[holder.rank] += piece.bytes;
    plan.assignments[holder.rank].push_back({holder.block, piece.begin, piece.end});
  }
  for (auto& own : plan.assignments) {
    std::sort(own.begin(), own.end(), [](const Assignment& a, const Assignment& b) {
      return std::pair(a.block, a.begin) < std::pair(b.block, b.begin);
    });
  }
  return plan;
}

std::string to_text(const std::vector<HeldBlock>& blocks) {
  json list = json::array();
  for (const HeldBlock& block : blocks) {
    list.push_back(
        {block.tensor.name, dtype_name(block.tensor.dtype), block.tensor.shape, block.box.offset, block.box.extent});
  }
  return list.dump();
}

std::vector<HeldBlock> blocks_from_text(const std::string& text) {
  std::vector<HeldBlock> blocks;
  for (const json& item : json::parse(text)) {
    blocks.push_back(
        {{item[0].get<std::string>(), dtype_from_name(item[1].get<std::string>()).value(), item[2].get<Shape>()},
         {item[3].get<Shape>(), item[4].get<Shape>()}});
  }
  return blocks;
}

}  // namespace medfuse::checkpoint
