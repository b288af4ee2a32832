#include "src/train/weights_identity.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace medfuse::train {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t block_bytes = 64 << 20;  // what ranks take in turn
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

/// Of a few places all over a file. Nodes may have copies of their own; those of another fine-tune differ nearly everywhere.
std::uint64_t sampled(const fs::path& path, std::int64_t bytes) {
  constexpr std::int64_t places = 64, place_bytes = 4096;
  const Descriptor file = Descriptor::open_to_read(path);
  std::string samples(places * place_bytes, '\0');
  for (std::int64_t i = 0; i < places; ++i) {
    file.read_some(samples.data() + i * place_bytes, place_bytes, bytes / places * i);
  }
  return checksum(samples);
}

/// Of every team.size-th block of the files, one after the other.
std::string checksums_of_my_blocks(const fs::path& folder, const std::vector<File>& files, const checkpoint::Team& team) {
  std::string checksums;
  std::vector<char> block;
  std::int64_t number = 0;
  for (const File& file : files) {
    const Descriptor opened = Descriptor::open_to_read(folder / file.name);
    for (std::int64_t i = 0; i < file.blocks(); ++i, ++number) {
      if (number % team.size != team.rank) continue;
      block.resize(static_cast<std::size_t>(std::min(block_bytes, file.bytes - i * block_bytes)));
      opened.read(block.data(), block.size(), i * block_bytes);
      checksums += hex(checksum(std::string_view(block.data(), block.size())));
    }
  }
  return checksums;
}

}  // namespace

std::string weights_identity(const fs::path& model_folder, const checkpoint::Team& team) {
  std::vector<File> files;
  const auto seen = checkpoint::gather_or_throw(team, [&] {
    files = weight_files(model_folder);
    std::string listed = hex(file_checksum(model_folder / "config.json"));
    for (const File& file : files) {
      listed += fmt::format(" {} {} {}", file.name, file.bytes, hex(sampled(model_folder / file.name, file.bytes)));
    }
    return listed;
  });
  for (std::size_t rank = 0; rank < seen.size(); ++rank) {
    if (seen[rank] != seen[0]) {
      data_error("text.model {}: rank {} finds other weights there than rank 0: copy them to all nodes anew",
                 model_folder.string(), rank);
    }
  }
  const auto checksums =
      checkpoint::gather_or_throw(team, [&] { return checksums_of_my_blocks(model_folder, files, team); });

  nlohmann::json described = nlohmann::json::object();
  std::size_t number = 0;
  for (const File& file : files) {
    std::string blocks;
    for (std::int64_t i = 0; i < file.blocks(); ++i, ++number) {
      blocks += checksums[number % checksums.size()].substr(number / checksums.size() * digits, digits);
    }
    described[file.name] = {{"bytes", file.bytes}, {"xxh64_of_blocks", hex(checksum(blocks))}};
  }
  return sealed({{"config_xxh64", seen[0].substr(0, digits)}, {"block_bytes", block_bytes}, {"files", described}});
}

}  // namespace medfuse::train
