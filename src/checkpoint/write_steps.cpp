#include "src/checkpoint/write_steps.h"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/checksum.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "base/stopwatch.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/header_checksum.h"
#include "src/checkpoint/layout.h"
#include "src/checkpoint/manifest.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// The bytes of a rank's shards on their way into its file.
class ShardWriter {
 public:
  explicit ShardWriter(const Descriptor& file) : file_(file) {}

  /// Writes one shard and returns the checksums of its blocks.
  std::vector<std::uint64_t> write(const char* data, std::int64_t bytes, std::int64_t byte_offset) {
    std::vector<std::uint64_t> blocks;
    for (std::int64_t at = 0; at < bytes; at += kBlockBytes) {
      const auto n = static_cast<std::size_t>(std::min(kBlockBytes, bytes - at));
      blocks.push_back(checksum({data + at, n}));
      file_.write(data + at, n, byte_offset + at);
      waiting_ += n;
      // The disk works while the next blocks are copied; left to the fsync, it would stand idle until then.
      if (waiting_ >= kBeginSync) {
        file_.begin_sync();
        waiting_ = 0;
      }
    }
    return blocks;
  }

 private:
  /// Later was measured slower (bench/checkpoint.sh); much sooner, small shards would go to the disk one by one.
  static constexpr std::size_t kBeginSync = 8 << 20;

  const Descriptor& file_;
  std::size_t waiting_ = 0;
};

/// The manifest from what the ranks wrote. Adds up the bytes of tensor data, and finds the slowest rank's seconds.
Manifest assemble(const Snapshot& snapshot, const std::vector<std::string>& records, std::int64_t& bytes, double& seconds) {
  Manifest manifest;
  manifest.step = snapshot.step;
  manifest.extra = snapshot.extra;
  for (const TensorInfo& tensor : snapshot.tensors) manifest.tensors.push_back({tensor, {}});
  for (const std::string& record : records) {
    if (record.empty()) continue;
    const json file = json::parse(record);
    seconds = std::max(seconds, file["seconds"].get<double>());
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

}  // namespace

void begin_writing(const fs::path& folder, std::int64_t step) {
  make_private_folder(folder);
  try {
    remove_leftovers(folder);
  } catch (const Error&) {
    // Only space is lost. A file that someone reads over NFS may stay for a while; complete() tries again, and tells.
  }
  make_partial(folder, step);
}

std::string write_part(const fs::path& folder, const Snapshot& snapshot, int rank) {
  if (snapshot.pieces.empty()) return "";
  const Stopwatch stopwatch;
  FileEntry entry;
  entry.name = fmt::format("rank-{:05d}.h5", rank);
  const fs::path path = partial_path(folder, snapshot.step) / entry.name;
  std::vector<Slot> slots;
  for (const Piece& piece : snapshot.pieces) {
    slots.push_back({piece.tensor, piece.box, "", 0});
  }
  lay_out(path, snapshot.step, slots);

  const Descriptor file = Descriptor::open_to_write(path);
  entry.bytes = file.size();
  file.reserve(entry.bytes);
  json shards = json::array();
  std::vector<ByteRange> written;
  ShardWriter out(file);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    Shard shard{0, slots[i].dataset, slots[i].byte_offset, slots[i].box, {}};
    const std::int64_t bytes = shard_bytes(slots[i].tensor, shard);
    shard.blocks = out.write(static_cast<const char*>(snapshot.pieces[i].data.get()), bytes, shard.byte_offset);
    written.push_back({shard.byte_offset, bytes});
    shards.push_back({{"name", slots[i].tensor.name}, {"bytes", bytes}, {"shard", shard_to_json(shard)}});
  }
  entry.header = header_checksum(file, entry.bytes, written);
  file.sync();
  return json{{"name", entry.name}, {"bytes", entry.bytes}, {"header", entry.header}, {"seconds", stopwatch.seconds()},
              {"shards", std::move(shards)}}.dump();
}

std::string complete(const fs::path& folder, const Snapshot& snapshot, const std::vector<std::string>& records,
                     const Retention& retention) {
  const fs::path path = folder / step_name(snapshot.step);
  const fs::path partial = partial_path(folder, snapshot.step);
  const Stopwatch stopwatch;
  std::int64_t bytes = 0;
  double slowest = 0;
  write_file_atomically(partial / kManifestName, to_text(assemble(snapshot, records, bytes, slowest)));
  read_manifest(partial);  // as a reader would: no older one, nor one of the same step, goes before this one opens
  publish(partial, path);
  json removed = json::array();
  std::string warning;
  try {
    for (const fs::path& old : superseded(folder, snapshot.step, retention)) {
      hide_checkpoint(old);
      removed.push_back(old.filename().string());
    }
    remove_leftovers(folder);
  } catch (const Error& error) {  // the new one is complete: no reason to stop the run
    warning = error.what();
  }
  // A path in the warning need not be UTF-8.
  return json{{"name", path.filename().string()}, {"bytes", bytes}, {"seconds", slowest + stopwatch.seconds()},
              {"removed", removed}, {"warning", warning}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

SaveReport report_from_text(const fs::path& folder, const std::string& text) {
  const json report = json::parse(text);
  SaveReport result{folder / report["name"].get<std::string>(), report["bytes"], report["seconds"], {}, report["warning"]};
  for (const json& name : report["removed"]) result.removed.push_back(folder / name.get<std::string>());
  return result;
}

void discard(const fs::path& folder, std::int64_t step) {
  std::error_code ignored;
  fs::remove_all(partial_path(folder, step), ignored);
}

}  // namespace medfuse::checkpoint
