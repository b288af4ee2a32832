#include "src/train/weights_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/system_error.h"

namespace medfuse::train {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t block_bytes = 64 << 20;  // what the ranks of a node take in turn
constexpr std::size_t digits = 16;              // of a block's checksum

struct File {
  std::string name;
  std::int64_t bytes = 0;
  std::int64_t blocks() const { return (bytes + block_bytes - 1) / block_bytes; }
};

std::vector<File> weight_files(const fs::path& folder) {
  std::vector<File> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".safetensors") continue;
    files.push_back({entry.path().filename().string(), static_cast<std::int64_t>(fs::file_size(entry.path()))});
  }
  if (error) data_error("text.model {}: {}", folder.string(), error.message());
  if (files.empty()) data_error("text.model {}: holds no .safetensors file", folder.string());
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.name < b.name; });
  return files;
}

/// What tells the folder from those of other nodes, and from others of this one.
std::string place_of(const fs::path& folder, const std::string& host) {
  struct stat status;
  if (::stat(folder.c_str(), &status) != 0) data_error("text.model {}: {}", folder.string(), system_message(errno));
  return fmt::format("{} {} {}", host, status.st_dev, status.st_ino);
}

/// Ranks that see the same folder. They read it together: block i of its files is the i-th's of them, and so on in turn.
using Readers = std::vector<std::size_t>;

/// Of the blocks that are this rank's, one after the other.
std::string checksums_of_blocks(const fs::path& folder, const std::vector<File>& files, const Readers& readers,
                                std::size_t rank) {
  std::string checksums;
  std::vector<char> block;
  std::size_t number = 0;
  for (const File& file : files) {
    const Descriptor opened = Descriptor::open_to_read(folder / file.name);
    for (std::int64_t i = 0; i < file.blocks(); ++i, ++number) {
      if (readers[number % readers.size()] != rank) continue;
      block.resize(static_cast<std::size_t>(std::min(block_bytes, file.bytes - i * block_bytes)));
      opened.read(block.data(), block.size(), i * block_bytes);
      checksums += hex(checksum(std::string_view(block.data(), block.size())));
    }
  }
  return checksums;
}

/// Those of all blocks of a folder, in order, from what each rank has.
std::string in_order(const std::vector<std::string>& of_ranks, const Readers& readers, std::size_t blocks) {
  std::string all;
  for (std::size_t i = 0; i < blocks; ++i) {
    all += of_ranks[readers[i % readers.size()]].substr(i / readers.size() * digits, digits);
  }
  return all;
}

}  // namespace

std::string weights_identity(const fs::path& model_folder, const checkpoint::Team& team, const std::string& host) {
  std::vector<File> files;
  std::size_t blocks = 0;
  const auto places = checkpoint::gather_or_throw(team, [&] { return place_of(model_folder, host); });
  const auto listed = checkpoint::gather_or_throw(team, [&] {
    files = weight_files(model_folder);
    std::string list = hex(file_checksum(model_folder / "config.json"));
    for (const File& file : files) {
      list += fmt::format(" {} {}", file.name, file.bytes);
      blocks += static_cast<std::size_t>(file.blocks());
    }
    return list;
  });
  const auto expect_same = [&](bool same, std::size_t rank) {
    if (!same) {
      data_error("text.model {}: rank {} finds other weights there than rank 0: copy them to all nodes anew",
                 model_folder.string(), rank);
    }
  };
  std::map<std::string, Readers> readers;  // by place
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    expect_same(listed[rank] == listed[0], rank);
    readers[places[rank]].push_back(rank);
  }
  const auto me = static_cast<std::size_t>(team.rank);
  const auto checksums = checkpoint::gather_or_throw(
      team, [&] { return checksums_of_blocks(model_folder, files, readers[places[me]], me); });
  const std::string first = in_order(checksums, readers[places[0]], blocks);
  for (const auto& [place, ranks] : readers) expect_same(in_order(checksums, ranks, blocks) == first, ranks.front());

  nlohmann::json described = nlohmann::json::object();
  std::size_t begin = 0;
  for (const File& file : files) {
    const std::size_t length = static_cast<std::size_t>(file.blocks()) * digits;
    described[file.name] = {{"bytes", file.bytes}, {"xxh64_of_blocks", hex(checksum(first.substr(begin, length)))}};
    begin += length;
  }
  return sealed({{"config_xxh64", listed[0].substr(0, digits)}, {"block_bytes", block_bytes}, {"files", described}});
}

}  // namespace medfuse::train
