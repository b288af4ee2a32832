// The steps of writing a checkpoint, each of which one rank does alone. Whoever calls them (writer.h, background_writer.h)
// lets the ranks agree in between.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/checkpoint/retention.h"
#include "src/checkpoint/save_report.h"
#include "src/checkpoint/snapshot.h"

namespace medfuse::checkpoint {

/// Rank 0, first: the hidden folder, and what killed writers left is gone. Throws Error(data).
void begin_writing(const std::filesystem::path& folder, std::int64_t step);

/// Every rank: its file, synced. Returns what the manifest says about it; empty if there is nothing to write. Needs
/// libhdf5's lock only while laying out the file. Throws Error(data).
std::string write_part(const std::filesystem::path& folder, const Snapshot& snapshot, int rank);

/// Rank 0, when all parts are written, with what the ranks returned: the manifest, then the final name; then, if the new
/// one opens, old checkpoints go. Returns the report, for report_from_text() on every rank. Throws Error(data).
std::string complete(const std::filesystem::path& folder, const Snapshot& snapshot,
                     const std::vector<std::string>& records, const Retention& retention);
SaveReport report_from_text(const std::string& text);

/// Rank 0, in place of the rest after an error, when no rank writes any more: no trace is left.
void discard(const std::filesystem::path& folder, std::int64_t step);

}  // namespace medfuse::checkpoint
