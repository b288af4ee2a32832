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

/// Rank 0, first: the hidden folder; what killed writers left is gone where it can be deleted. Throws Error(data).
void begin_writing(const std::filesystem::path& folder, std::int64_t step);

/// Every rank: its file, synced. Returns what the manifest says about it; empty if there is nothing to write. Needs
/// libhdf5's lock only while laying out the file. Throws Error(data).
std::string write_part(const std::filesystem::path& folder, const Snapshot& snapshot, int rank);

/// Rank 0, when all parts are written, with what the ranks returned: the manifest; if the new one opens, its final name; then
/// old checkpoints and leftovers go, with a warning in the report where they cannot. Returns the report, for report_from_text()
/// on every rank, which knows the folder by the same path. Throws Error(data).
std::string complete(const std::filesystem::path& folder, const Snapshot& snapshot,
                     const std::vector<std::string>& records, const Retention& retention);
SaveReport report_from_text(const std::filesystem::path& folder, const std::string& text);

/// Rank 0, in place of the rest after an error, when no rank writes any more: no trace is left.
void discard(const std::filesystem::path& folder, std::int64_t step);

}  // namespace medfuse::checkpoint
