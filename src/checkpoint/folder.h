// The folder checkpoints/ of a run: names, how a finished checkpoint appears in it, how old ones go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace medfuse::checkpoint {

struct FolderEntry {
  std::int64_t step = 0;
  std::filesystem::path path;
};

/// "step-000000200".
std::string step_name(std::int64_t step);
/// Where a checkpoint is written: hidden, beside its final place.
std::filesystem::path partial_path(const std::filesystem::path& folder, std::int64_t step);

/// Everything named as a finished checkpoint, oldest first; empty if there is no folder.
std::vector<FolderEntry> entries(const std::filesystem::path& folder);

/// Deletes what was left behind: hidden folders of this program. Only for the one job that writes here. Throws Error(data) for
/// the first that cannot be deleted, once all have been tried.
void remove_leftovers(const std::filesystem::path& folder);
/// Makes partial_path(), empty. Throws Error(data).
void make_partial(const std::filesystem::path& folder, std::int64_t step);

/// Renames `partial` to its final name. If a checkpoint of that step is there, the two change places at once where the
/// file system can (`exchange`), and the old one is a leftover; else it steps aside under a name that entries() still finds.
/// Throws Error(data).
void publish(const std::filesystem::path& partial, const std::filesystem::path& path, bool exchange = true);

/// Makes a leftover of a checkpoint, so that half of it is never taken for one. Throws Error(data).
void hide_checkpoint(const std::filesystem::path& path);

}  // namespace medfuse::checkpoint
