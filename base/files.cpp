#include "base/files.h"

#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/system_error.h"

namespace medfuse {
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) data_error("{}: is a folder, a file is needed", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) data_error("{}: {}", path.string(), std::strerror(errno));
  // In blocks: read() turns what the system refuses into a state of the stream; its iterators would throw past us.
  std::string content;
  std::vector<char> block(1 << 16);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    content.append(block.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (in.bad()) data_error("{}: read error: {}", path.string(), std::strerror(errno));
  return content;
}

PartialFile::PartialFile(fs::path path) : path_(std::move(path)), beside_(path_) { beside_ += ".partial"; }

PartialFile::~PartialFile() {
  std::error_code ignored;
  if (!beside_.empty()) fs::remove(beside_, ignored);
}

void PartialFile::commit() {
  sync_path(beside_);
  std::error_code error;
  if (fs::is_directory(path_, error)) data_error("{}: is a folder; give a file's name", path_.string());
  fs::rename(beside_, path_, error);
  if (error) data_error("{}: rename failed: {}", path_.string(), system_message(error.value()));
  beside_.clear();
  sync_path(path_.has_parent_path() ? path_.parent_path() : ".");
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  PartialFile file(path);
  {
    const Descriptor written = Descriptor::replace(file.beside());
    written.write(content.data(), content.size(), 0);
    written.sync();  // by the descriptor that wrote: on network file systems another one may not see its errors
  }
  file.commit();
}

void make_private_folder(const fs::path& path) {
  std::error_code error;
  const bool made = fs::create_directories(path, error);
  if (error) data_error("{}: cannot create the folder: {}", path.string(), system_message(error.value()));
  if (!made) return;
  fs::permissions(path, fs::perms::owner_all, error);
  sync_path(path.has_parent_path() ? path.parent_path() : ".");  // what is saved in it is lost if its name is
}

void sync_path(const fs::path& path) {
  Descriptor::open_to_read(path).sync();
}

void check_output_file(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (fs::is_directory(path)) data_error("{}: is a folder; give a file's name", path.string());
  if (!fs::is_directory(folder)) data_error("{}: there is no folder {}; make it first", path.string(), folder.string());
  if (::access(folder.c_str(), W_OK) != 0) {
    data_error("{}: cannot write in {}: {}", path.string(), folder.string(), system_message(errno));
  }
}

std::uint64_t file_checksum(const fs::path& path) {
  const Descriptor file = Descriptor::open_to_read(path);
  const std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state(XXH64_createState(), XXH64_freeState);
  XXH64_reset(state.get(), 0);
  std::vector<char> block(1 << 20);
  std::int64_t offset = 0;
  while (const std::size_t n = file.read_some(block.data(), block.size(), offset)) {
    XXH64_update(state.get(), block.data(), n);
    offset += static_cast<std::int64_t>(n);
  }
  return XXH64_digest(state.get());
}

}  // namespace medfuse
