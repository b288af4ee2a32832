#include "src/checkpoint/folder.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "base/files.h"
#include "base/system_error.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kReplaced = ".replaced";  // steps aside for a new one of the same step

std::optional<std::int64_t> parse_step(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  if (name.ends_with(kReplaced)) name.remove_suffix(kReplaced.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (name.size() < 9 || error != std::errc() || end != name.data() + name.size() || step < 0) return std::nullopt;
  return step;
}

void move_to(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (!error) return;
  data_error("{}: cannot rename to {}: {}", from.string(), to.filename().string(), system_message(error.value()));
}

void delete_all(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) data_error("{}: cannot delete: {}", path.string(), error.message());
}

}  // namespace

std::string step_name(std::int64_t step) { return fmt::format("{}{:09d}", kPrefix, step); }

fs::path partial_path(const fs::path& folder, std::int64_t step) {
  return folder / ("." + step_name(step) + ".partial");
}

std::vector<FolderEntry> entries(const fs::path& folder) {
  std::vector<FolderEntry> list;
  std::error_code error;
  fs::directory_iterator items(folder, error);
  if (error == std::errc::no_such_file_or_directory) return list;
  if (error) data_error("{}: cannot list the folder: {}", folder.string(), error.message());
  for (const fs::directory_entry& item : items) {
    const auto step = parse_step(item.path().filename().native());
    if (step && item.is_directory(error)) list.push_back({*step, item.path()});
  }
  // Of one step, the replaced one comes first: it is the older.
  std::sort(list.begin(), list.end(), [](const FolderEntry& a, const FolderEntry& b) {
    return std::tuple(a.step, !a.path.native().ends_with(kReplaced)) <
           std::tuple(b.step, !b.path.native().ends_with(kReplaced));
  });
  return list;
}

void remove_leftovers(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& item : fs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename();
    if (name.starts_with("." + std::string(kPrefix)) && (name.ends_with(".partial") || name.ends_with(".removed"))) {
      leftovers.push_back(item.path());
    }
  }
  if (error) data_error("{}: cannot list the folder: {}", folder.string(), error.message());
  std::optional<Error> first;
  for (const fs::path& path : leftovers) {
    try {
      delete_all(path);
    } catch (const Error& failed) {
      if (!first) first = failed;
    }
  }
  if (first) throw *first;
}

void make_partial(const fs::path& folder, std::int64_t step) {
  const fs::path path = partial_path(folder, step);
  delete_all(path);
  make_private_folder(path);
}

void publish(const fs::path& partial, const fs::path& path, bool exchange) {
  const fs::path folder = path.parent_path();
  if (!fs::exists(path)) {
    move_to(partial, path);
    sync_path(folder);
    return;
  }
  if (exchange && ::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    sync_path(folder);
    return;
  }
  fs::path replaced = path;
  replaced += kReplaced;
  delete_all(replaced);
  move_to(path, replaced);
  move_to(partial, path);
  sync_path(folder);
}

void hide_checkpoint(const fs::path& path) {
  move_to(path, path.parent_path() / ("." + path.filename().string() + ".removed"));
}

}  // namespace medfuse::checkpoint
