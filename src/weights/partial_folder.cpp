#include "src/weights/partial_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/files.h"

namespace medfuse::weights {
namespace fs = std::filesystem;

namespace {

/// "out/" names the same folder as "out".
fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

}  // namespace

void check_output_folder(const fs::path& given) {
  const fs::path path = without_slash(given);
  const fs::path parent = parent_of(path);
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(path, ignored))) {
    data_error("{}: is there already; give the name of a new folder", path.string());
  }
  if (!fs::is_directory(parent, ignored)) {
    data_error("{}: there is no folder {}; make it first", path.string(), parent.string());
  }
  if (::access(parent.c_str(), W_OK) != 0) {
    data_error("{}: cannot write in {}: {}", path.string(), parent.string(), std::strerror(errno));
  }
}

PartialFolder::PartialFolder(const fs::path& path) : path_(without_slash(path)) {
  check_output_folder(path_);
  fs::path beside = path_;
  beside += ".partial";
  std::error_code error;
  fs::remove_all(beside, error);
  if (error) data_error("{}: what an earlier export left cannot be removed: {}", beside.string(), error.message());
  beside_ = beside;
  make_private_folder(beside_);
}

PartialFolder::~PartialFolder() {
  std::error_code ignored;
  if (!beside_.empty()) fs::remove_all(beside_, ignored);
}

void PartialFolder::commit() {
  sync_path(beside_);
  check_output_folder(path_);  // renaming would replace an empty folder that has come up meanwhile
  std::error_code error;
  fs::rename(beside_, path_, error);
  if (error) data_error("{}: rename failed: {}", path_.string(), error.message());
  beside_.clear();
  sync_path(parent_of(path_));
}

}  // namespace medfuse::weights
