#include "src/checkpoint/writer.h"

#include <ATen/ATen.h>
#include <xxhash.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/header_checksum.h"
#include "src/checkpoint/layout.h"
#include "src/checkpoint/manifest.h"
#include "src/checkpoint/plan.h"

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

Piece cut(const ShardedTensor& tensor, const Assignment& assignment, bool copy) {
  Piece piece{tensor.name, tensor.local.detach(), tensor.global_shape, tensor.offset};
  if (tensor.local.dim() > 0) {
    piece.data = piece.data.narrow(0, assignment.begin, assignment.end - assignment.begin);
    piece.offset[0] += assignment.begin;
  }
  const bool moved = !piece.data.is_cpu() || !piece.data.is_contiguous();
  piece.data = piece.data.to(at::kCPU).contiguous();
  if (copy && !moved) piece.data = piece.data.clone();
  return piece;
}

/// Writes one shard's bytes and returns the checksums of its blocks.
std::vector<std::uint64_t> write_blocks(const Descriptor& file, const char* data, std::int64_t bytes,
                                        std::int64_t byte_offset) {
  std::vector<std::uint64_t> blocks;
  for (std::int64_t at = 0; at < bytes; at += kBlockBytes) {
    const auto n = static_cast<std::size_t>(std::min(kBlockBytes, bytes - at));
    blocks.push_back(XXH64(data + at, n, 0));
    file.write(data + at, n, byte_offset + at);
  }
  return blocks;
}

/// Writes this rank's file and returns what the manifest says about it; an empty text if there is nothing to write.
std::string write_file(const fs::path& partial, const Snapshot& snapshot, int rank) {
  if (snapshot.pieces.empty()) return "";
  FileEntry entry;
  entry.name = fmt::format("rank-{:05d}.h5", rank);
  const fs::path path = partial / entry.name;
  std::vector<Slot> slots;
  for (const Piece& piece : snapshot.pieces) {
    slots.push_back(
        {{piece.name, piece.data.scalar_type(), piece.global_shape}, {piece.offset, piece.data.sizes().vec()}, "", 0});
  }
  lay_out(path, snapshot.step, slots);

  const Descriptor file = Descriptor::open_to_write(path);
  entry.bytes = file.size();
  file.reserve(entry.bytes);
  json shards = json::array();
  std::vector<ByteRange> written;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const at::Tensor& data = snapshot.pieces[i].data;
    const auto bytes = static_cast<std::int64_t>(data.nbytes());
    Shard shard{0, slots[i].dataset, slots[i].byte_offset, slots[i].box, {}};
    shard.blocks = write_blocks(file, static_cast<const char*>(data.const_data_ptr()), bytes, shard.byte_offset);
    written.push_back({shard.byte_offset, bytes});
    shards.push_back({{"name", slots[i].tensor.name}, {"bytes", bytes}, {"shard", shard_to_json(shard)}});
  }
  entry.header = header_checksum(file, entry.bytes, written);
  file.sync();
  return json{{"name", entry.name}, {"bytes", entry.bytes}, {"header", entry.header}, {"shards", std::move(shards)}}
      .dump();
}

/// The manifest from what the ranks wrote. Adds up the bytes of tensor data.
Manifest assemble(const Snapshot& snapshot, const std::vector<std::string>& records, std::int64_t& bytes) {
  Manifest manifest;
  manifest.step = snapshot.step;
  manifest.extra = snapshot.extra;
  for (const TensorInfo& tensor : snapshot.tensors) manifest.tensors.push_back({tensor, {}});
  for (const std::string& record : records) {
    if (record.empty()) continue;
    const json file = json::parse(record);
    for (const json& item : file["shards"]) {
      const json& source = item["shard"];
      Shard shard{
          manifest.files.size(), source["dataset"], source["byte_offset"], {source["offset"], source["extent"]}, {}};
      for (const json& block : source["blocks"]) shard.blocks.push_back(from_hex(block.get<std::string>()).value());
      const TensorEntry* tensor = manifest.find(item["name"]);
      if (!tensor) throw std::logic_error("checkpoint: the ranks' snapshots do not belong together");
      manifest.tensors[static_cast<std::size_t>(tensor - manifest.tensors.data())].shards.push_back(std::move(shard));
      bytes += item["bytes"].get<std::int64_t>();
    }
    manifest.files.push_back({file["name"], file["bytes"], file["header"]});
  }
  return manifest;
}

/// Rank 0: the manifest last, then the final name, then the old ones go.
SaveReport finish(const fs::path& folder, const Snapshot& snapshot, const std::vector<std::string>& records,
                  const SaveOptions& options) {
  SaveReport report;
  report.path = folder / step_name(snapshot.step);
  const fs::path partial = partial_path(folder, snapshot.step);
  write_file_atomically(partial / kManifestName, to_text(assemble(snapshot, records, report.bytes)));
  publish(partial, report.path);
  try {
    for (const fs::path& path : superseded(folder, snapshot.step, options.keep)) {
      remove_checkpoint(path);
      report.removed.push_back(path);
    }
  } catch (const Error& error) {  // the new one is complete: no reason to stop the run
    report.warning = error.what();
  }
  return report;
}

}  // namespace

Snapshot take_snapshot(std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                       const Team& team, bool copy) {
  if (step < 0) throw std::logic_error("checkpoint: negative step");
  std::vector<std::vector<HeldBlock>> held;
  for (const std::string& text : gather_or_throw(team, [&] { return describe(tensors); })) {
    held.push_back(blocks_from_text(text));
  }
  Plan plan = make_plan(held);  // fails alike on all ranks
  Snapshot snapshot{step, extra, std::move(plan.tensors), {}};
  gather_or_throw(team, [&] {
    for (const Assignment& assignment : plan.assignments[static_cast<std::size_t>(team.rank)]) {
      snapshot.pieces.push_back(cut(tensors[assignment.block], assignment, copy));
    }
    return std::string();
  });
  return snapshot;
}

SaveReport write(const fs::path& folder, const Snapshot& snapshot, const Team& team, const SaveOptions& options) {
  const fs::path partial = partial_path(folder, snapshot.step);
  try {
    gather_or_throw(team, [&] {
      if (team.rank == 0) {
        make_private_folder(folder);
        remove_leftovers(folder);
        make_private_folder(partial);
      }
      return std::string();
    });
    const auto records = gather_or_throw(team, [&] { return write_file(partial, snapshot, team.rank); });
    SaveReport report;
    const auto results = gather_or_throw(team, [&] {
      if (team.rank != 0) return std::string();
      report = finish(folder, snapshot, records, options);
      return json(report.bytes).dump();
    });
    if (team.rank != 0) {
      report.path = folder / step_name(snapshot.step);
      report.bytes = json::parse(results.front()).get<std::int64_t>();
    }
    return report;
  } catch (...) {
    // All ranks are here or will write no more: a rank that failed has told so after its last write.
    std::error_code ignored;
    if (team.rank == 0) fs::remove_all(partial, ignored);
    throw;
  }
}

SaveReport save(const fs::path& folder, std::int64_t step, const std::vector<ShardedTensor>& tensors, const json& extra,
                const Team& team, const SaveOptions& options) {
  return write(folder, take_snapshot(step, tensors, extra, team, false), team, options);
}

}  // namespace medfuse::checkpoint
