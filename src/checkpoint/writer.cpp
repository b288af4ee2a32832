#include "src/checkpoint/writer.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <utility>

#include "src/checkpoint/plan.h"
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
Piece cut(const ShardedTensor& tensor, const Assignment& assignment) {
  Piece piece{tensor.name, tensor.local.detach(), tensor.global_shape, tensor.offset};
  if (tensor.local.dim() > 0) {
    piece.data = piece.data.narrow(0, assignment.begin, assignment.end - assignment.begin);
    piece.offset[0] += assignment.begin;
  }
  return piece;
}

/// Collective. The pieces of this rank, where they lie.
Snapshot divide(std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra, const Team& team) {
  if (step < 0) throw std::logic_error("checkpoint: negative step");
  std::vector<std::vector<HeldBlock>> held;
  for (const std::string& text : gather_or_throw(team, [&] { return describe(tensors); })) {
    held.push_back(blocks_from_text(text));
  }
  Plan plan = make_plan(held);  // fails alike on all ranks
  Snapshot snapshot{step, extra, std::move(plan.tensors), {}};
  for (const Assignment& assignment : plan.assignments[static_cast<std::size_t>(team.rank)]) {
    snapshot.pieces.push_back(cut(tensors[assignment.block], assignment));
  }
  return snapshot;
}

}  // namespace

Snapshot take_snapshot(std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                       const Team& team, Snapshot used) {
  Snapshot snapshot = divide(step, tensors, extra, team);
  gather_or_throw(team, [&] {  // memory may run out
    for (std::size_t i = 0; i < snapshot.pieces.size(); ++i) {
      at::Tensor& data = snapshot.pieces[i].data;
      at::Tensor memory = i < used.pieces.size() ? std::exchange(used.pieces[i].data, {}) : at::Tensor();
      if (!memory.defined() || memory.sizes() != data.sizes() || memory.scalar_type() != data.scalar_type()) {
        memory = at::empty(data.sizes(), data.options().device(at::kCPU));
      }
      data = memory.copy_(data);
    }
    return std::string();
  });
  return snapshot;
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
    return report_from_text(results.front());
  } catch (...) {
    // All ranks are here or will write no more: a rank that failed has told so after its last write.
    if (team.rank == 0) discard(folder, snapshot.step);
    throw;
  }
}

SaveReport save(const fs::path& folder, std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                const Team& team, const Retention& retention) {
  Snapshot snapshot = divide(step, tensors, extra, team);
  gather_or_throw(team, [&] {
    for (Piece& piece : snapshot.pieces) piece.data = piece.data.to(at::kCPU).contiguous();
    return std::string();
  });
  return write(folder, snapshot, team, retention);
}

}  // namespace medfuse::checkpoint
