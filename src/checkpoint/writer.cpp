#include "src/checkpoint/writer.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <utility>

#include "src/checkpoint/pieces.h"
#include "src/checkpoint/plan.h"
#include "src/checkpoint/tensors.h"
#include "src/checkpoint/write_steps.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string describe(const std::vector<ShardedTensor>& tensors) {
  std::vector<HeldBlock> blocks;
  for (const ShardedTensor& tensor : tensors) {
    if (!tensor.local.defined() || tensor.local.layout() != at::kStrided) {
      throw std::logic_error("checkpoint: tensor " + tensor.name + " is not a dense tensor");
    }
    blocks.push_back(
        {{tensor.name, tensor.local.scalar_type(), tensor.global_shape}, {tensor.offset, tensor.local.sizes().vec()}});
  }
  return to_text(blocks);
}

/// What the assignment says of the tensor, where it lies.
ShardedTensor cut(ShardedTensor tensor, const Assignment& assignment) {
  tensor.local = tensor.local.detach();
  if (tensor.local.dim() > 0) {
    tensor.local = tensor.local.narrow(0, assignment.begin, assignment.end - assignment.begin);
    tensor.offset[0] += assignment.begin;
  }
  return tensor;
}

/// A snapshot that yet lacks its pieces, and what is to become this rank's, where it lies.
struct Divided {
  Snapshot snapshot;
  std::vector<ShardedTensor> own;
};

/// Collective.
Divided divide(std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra, const Team& team) {
  if (step < 0) throw std::logic_error("checkpoint: negative step");
  std::vector<std::vector<HeldBlock>> held;
  for (const std::string& text : gather_or_throw(team, [&] { return describe(tensors); })) {
    held.push_back(blocks_from_text(text));
  }
  Plan plan = make_plan(held);  // fails alike on all ranks
  Divided divided{{step, extra, std::move(plan.tensors), {}}, {}};
  for (const Assignment& assignment : plan.assignments[static_cast<std::size_t>(team.rank)]) {
    divided.own.push_back(cut(tensors[assignment.block], assignment));
  }
  return divided;
}

/// A copy on the host: in the memory of `used`, a piece that is done with, if it is alike.
Piece copy_of(const ShardedTensor& block, Piece* used) {
  const auto host = block.local.options().device(at::kCPU);
  if (used == nullptr || used->box.extent != block.local.sizes().vec() || used->tensor.dtype != block.local.scalar_type()) {
    return piece_of({block.name, at::empty(block.local.sizes(), host).copy_(block.local), block.global_shape, block.offset});
  }
  at::from_blob(used->data.get(), block.local.sizes(), host).copy_(block.local);
  return {{block.name, used->tensor.dtype, block.global_shape}, {block.offset, used->box.extent}, std::move(used->data)};
}

}  // namespace

Snapshot take_snapshot(std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                       const Team& team, Snapshot used) {
  Divided divided = divide(step, tensors, extra, team);
  gather_or_throw(team, [&] {  // memory may run out
    std::vector<Piece>& pieces = divided.snapshot.pieces;
    for (const ShardedTensor& block : divided.own) {
      const std::size_t i = pieces.size();
      pieces.push_back(copy_of(block, i < used.pieces.size() ? &used.pieces[i] : nullptr));
    }
    return std::string();
  });
  return std::move(divided.snapshot);
}

SaveReport write(const fs::path& folder, const Snapshot& snapshot, const Team& team, const Retention& retention) {
  try {
    gather_or_throw(team, [&] {
      if (team.rank == 0) begin_writing(folder, snapshot.step);
      return std::string();
    });
    const auto records = gather_or_throw(team, [&] { return write_part(folder, snapshot, team.rank); });
    const auto results = gather_or_throw(
        team, [&] { return team.rank == 0 ? complete(folder, snapshot, records, retention) : std::string(); });
    return report_from_text(folder, results.front());
  } catch (...) {
    // All ranks are here or will write no more: a rank that failed has told so after its last write.
    if (team.rank == 0) discard(folder, snapshot.step);
    throw;
  }
}

SaveReport save(const fs::path& folder, std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                const Team& team, const Retention& retention) {
  Divided divided = divide(step, tensors, extra, team);
  gather_or_throw(team, [&] {
    for (ShardedTensor& block : divided.own) {
      block.local = block.local.to(at::kCPU).contiguous();
      divided.snapshot.pieces.push_back(piece_of(block));
    }
    return std::string();
  });
  return write(folder, divided.snapshot, team, retention);
}

}  // namespace medfuse::checkpoint
