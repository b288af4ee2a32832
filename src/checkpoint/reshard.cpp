#include "src/checkpoint/reshard.h"

#include <string>
#include <utility>
#include <vector>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/pieces.h"
#include "src/checkpoint/plan.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/write_steps.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

namespace {

Piece read_piece(const Reader& reader, const TensorInfo& tensor, const Assignment& assignment) {
  Shape offset(tensor.shape.size(), 0), extent = tensor.shape;
  if (!extent.empty()) {
    offset[0] = assignment.begin;
    extent[0] = assignment.end - assignment.begin;
  }
  return piece_of({tensor.name, reader.read(tensor.name, offset, extent), tensor.shape, offset});
}

}  // namespace

SaveReport reshard(const fs::path& from, const fs::path& folder, std::int64_t files) {
  if (files < 1) usage_error("--files {}: at least 1", files);
  const Reader reader(from);
  if (!entries(folder).empty()) usage_error("--output {}: holds checkpoints already; give an empty folder", folder.string());
  const std::vector<TensorInfo> tensors = reader.tensors();
  std::vector<HeldBlock> all;
  for (const TensorInfo& tensor : tensors) all.push_back({tensor, {Shape(tensor.shape.size(), 0), tensor.shape}});
  const Plan plan = make_plan(std::vector<std::vector<HeldBlock>>(static_cast<std::size_t>(files), all));
  Snapshot snapshot{reader.step(), reader.extra(), plan.tensors, {}};
  try {
    begin_writing(folder, snapshot.step);
    std::vector<std::string> records;
    for (std::size_t file = 0; file < plan.assignments.size(); ++file) {
      snapshot.pieces.clear();
      for (const Assignment& assignment : plan.assignments[file]) {
        snapshot.pieces.push_back(read_piece(reader, tensors[assignment.block], assignment));
      }
      records.push_back(write_part(folder, snapshot, static_cast<int>(file)));
    }
    return report_from_text(folder, complete(folder, snapshot, records, {.keep = 0}));
  } catch (...) {
    discard(folder, snapshot.step);
    throw;
  }
}

}  // namespace medfuse::checkpoint
