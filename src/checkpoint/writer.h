// Saves the training state: a snapshot of what this rank writes, then the files, whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/checkpoint/retention.h"
#include "src/checkpoint/save_report.h"
#include "src/checkpoint/snapshot.h"
#include "src/checkpoint/team.h"

namespace medfuse::checkpoint {

struct ShardedTensor;  // tensors.h

/// Collective. Divides the writing: a block that several ranks hold is written once, large ones cut along dimension 0,
/// so that the ranks write about equally many bytes. The pieces are copies: training may go on while they are written
/// (background_writer.h). `used`: a snapshot that is done with; where its pieces are alike their memory serves again, which
/// saves the time to have it zeroed by the system. Throws std::logic_error, on all ranks, if the blocks of a tensor do not
/// tile it.
Snapshot take_snapshot(std::int64_t step, const std::vector<ShardedTensor>& tensors, const nlohmann::json& extra,
                       const Team& team, Snapshot used = {});

/// Collective. Writes `folder`/step-000000200: into a hidden folder beside, space reserved first, all synced to disk,
/// then renamed, then opened as a reader would. Old checkpoints are deleted only after that, and so are those of later
/// steps: they belong to a course that was left when an older checkpoint was continued. On an error, on whatever rank, all
/// ranks throw it and no trace is left. Files are readable by their owner only. Needs libhdf5's lock only while laying out
/// the files.
SaveReport write(const std::filesystem::path& folder, const Snapshot& snapshot, const Team& team,
                 const Retention& retention = {});

/// Collective. The same in one, without copies of host tensors.
SaveReport save(const std::filesystem::path& folder, std::int64_t step, const std::vector<ShardedTensor>& tensors,
                const nlohmann::json& extra, const Team& team, const Retention& retention = {});

}  // namespace medfuse::checkpoint
