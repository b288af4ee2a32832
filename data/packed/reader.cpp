#include "data/packed/reader.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <stdexcept>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "data/packed/info_json.h"

namespace medfuse::data {
namespace {

namespace fs = std::filesystem;

/// Descriptors kept open, so that a data set of thousands of shards does not use up the process's limit.
constexpr std::size_t open_files = 128;

/// Where a shard's arrays lie in its file. They are read past the HDF5 library: it has a global lock, and malformed files can
/// crash it.
struct Shard {
  fs::path path;
  std::int64_t first = 0;               ///< index of its first sample
  std::int64_t samples = 0;
  std::uint64_t bytes = 0;
  std::vector<std::int64_t> offsets;    ///< [samples + 1] into the tokens
  std::vector<std::int64_t> patients;   ///< [samples]
  std::uint64_t tokens_at = 0, labs_at = 0, observed_at = 0, labels_at = 0;
  std::shared_ptr<const Descriptor> file;
};

void verify_shard(const fs::path& path, const ShardEntry& entry, bool verify) {
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error) data_error("{}: is missing or unreadable ({}): pack the data again", path.string(), error.message());
  if (bytes != entry.bytes) {
    data_error("{}: has {} bytes instead of {}: pack the data again", path.string(), bytes, entry.bytes);
  }
  if (verify && file_checksum(path) != entry.checksum) {
    data_error("{}: is corrupted (its checksum differs from the index): pack the data again", path.string());
  }
}

[[noreturn]] void disagrees(const fs::path& path, const char* what) {
  data_error("{}: {} disagrees with index.json: pack the data again", path.string(), what);
}

/// Where `count` elements of `size` bytes lie; they are in the file.
std::uint64_t place_of(const fs::path& path, const ShardEntry& entry, const char* name, std::uint64_t count,
                       std::uint64_t size) {
  const auto found = entry.arrays.find(name);
  if (found == entry.arrays.end() || found->second > entry.bytes || count > (entry.bytes - found->second) / size) {
    disagrees(path, name);
  }
  return found->second;
}

template <class T>
std::vector<T> read_array(const Descriptor& file, const fs::path& path, const ShardEntry& entry, const char* name,
                          std::uint64_t count) {
  const std::uint64_t at = place_of(path, entry, name, count, sizeof(T));
  std::vector<T> values(count);
  file.read(values.data(), count * sizeof(T), static_cast<std::int64_t>(at));
  return values;
}

}  // namespace

struct PackedReader::Shards {
  fs::path folder;
  PackedInfo info;
  std::vector<Shard> shards;
  std::vector<std::int64_t> admissions;
  std::vector<Split> splits;
  std::vector<std::int32_t> lengths;
  std::mutex mutex;
  std::deque<std::size_t> opened;

  void add(const fs::path& path, const ShardEntry& entry);
  std::shared_ptr<const Descriptor> descriptor(std::size_t number);
  void read(const Shard& shard, const Descriptor& file, std::uint64_t at, void* out, std::size_t bytes) const;
};

void PackedReader::Shards::add(const fs::path& path, const ShardEntry& entry) {
  const Descriptor file = Descriptor::open_to_read(path);
  const auto count = static_cast<std::uint64_t>(entry.samples);
  Shard shard;
  shard.path = path;
  shard.first = static_cast<std::int64_t>(admissions.size());
  shard.samples = entry.samples;
  shard.bytes = entry.bytes;
  shard.patients = read_array<std::int64_t>(file, path, entry, "patient", count);
  shard.offsets = read_array<std::int64_t>(file, path, entry, "tokens/offsets", count + 1);
  if (shard.offsets.front() != 0) disagrees(path, "tokens/offsets");
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t begin = shard.offsets[i], end = shard.offsets[i + 1];
    if (end <= begin || end - begin > info.max_tokens) disagrees(path, "tokens/offsets");
    lengths.push_back(static_cast<std::int32_t>(end - begin));
  }
  for (const std::int64_t admission : read_array<std::int64_t>(file, path, entry, "admission", count)) {
    if (!admissions.empty() && admission <= admissions.back()) disagrees(path, "the order of admissions");
    admissions.push_back(admission);
  }
  for (const std::uint8_t split : read_array<std::uint8_t>(file, path, entry, "split", count)) {
    if (split > 2) disagrees(path, "split");
    splits.push_back(static_cast<Split>(split));
  }
  const auto tokens = static_cast<std::uint64_t>(shard.offsets.back());
  shard.tokens_at = place_of(path, entry, "tokens/values", tokens, sizeof(std::int32_t));
  if (!info.labs.empty()) {
    shard.labs_at = place_of(path, entry, "labs/values", count * info.labs.size(), sizeof(float));
    shard.observed_at = place_of(path, entry, "labs/observed", count * info.labs.size(), 1);
  }
  if (info.has_labels && !info.diseases.empty()) {
    shard.labels_at = place_of(path, entry, "labels", count * info.diseases.size(), 1);
  }
  shards.push_back(std::move(shard));
}

std::shared_ptr<const Descriptor> PackedReader::Shards::descriptor(std::size_t number) {
  const std::lock_guard<std::mutex> lock(mutex);
  Shard& shard = shards[number];
  if (!shard.file) {
    if (opened.size() >= open_files) {
      shards[opened.front()].file.reset();
      opened.pop_front();
    }
    shard.file = std::make_shared<const Descriptor>(Descriptor::open_to_read(shard.path));
    opened.push_back(number);
  }
  return shard.file;
}

void PackedReader::Shards::read(const Shard& shard, const Descriptor& file, std::uint64_t at, void* out,
                                std::size_t bytes) const {
  if (at > shard.bytes || bytes > shard.bytes - at) disagrees(shard.path, "the place of its data");
  file.read(out, bytes, static_cast<std::int64_t>(at));
}

PackedReader::PackedReader(const fs::path& folder, bool verify) : shards_(std::make_unique<Shards>()) {
  PackedIndex index = read_index(folder / "index.json");
  shards_->folder = folder;
  shards_->info = std::move(index.info);
  for (const ShardEntry& entry : index.shards) {
    const fs::path path = folder / entry.file;
    verify_shard(path, entry, verify);
    shards_->add(path, entry);
  }
}

PackedReader::~PackedReader() = default;

const fs::path& PackedReader::folder() const { return shards_->folder; }

const PackedInfo& PackedReader::info() const { return shards_->info; }
std::int64_t PackedReader::size() const { return static_cast<std::int64_t>(shards_->admissions.size()); }
std::span<const std::int64_t> PackedReader::admissions() const { return shards_->admissions; }
std::span<const Split> PackedReader::splits() const { return shards_->splits; }
std::span<const std::int32_t> PackedReader::lengths() const { return shards_->lengths; }

Sample PackedReader::sample(std::int64_t index) const {
  if (index < 0 || index >= size()) {
    throw std::logic_error(fmt::format("PackedReader::sample({}) of {} samples", index, size()));
  }
  const auto after = std::upper_bound(shards_->shards.begin(), shards_->shards.end(), index,
                                      [](std::int64_t i, const Shard& shard) { return i < shard.first; });
  const auto number = static_cast<std::size_t>(after - shards_->shards.begin()) - 1;
  const Shard& shard = shards_->shards[number];
  const std::shared_ptr<const Descriptor> file = shards_->descriptor(number);
  const auto row = static_cast<std::size_t>(index - shard.first);
  Sample sample;
  sample.admission = shards_->admissions[static_cast<std::size_t>(index)];
  sample.patient = shard.patients[row];
  sample.split = shards_->splits[static_cast<std::size_t>(index)];
  sample.tokens.resize(static_cast<std::size_t>(shard.offsets[row + 1] - shard.offsets[row]));
  shards_->read(shard, *file, shard.tokens_at + sizeof(std::int32_t) * static_cast<std::uint64_t>(shard.offsets[row]),
                sample.tokens.data(), sizeof(std::int32_t) * sample.tokens.size());
  for (const std::int32_t token : sample.tokens) {
    if (token < 0 || token >= info().vocabulary) disagrees(shard.path, "a token id");
  }
  const std::size_t labs = info().labs.size();
  sample.labs.resize(labs);
  sample.observed.resize(labs);
  if (labs > 0) {
    shards_->read(shard, *file, shard.labs_at + sizeof(float) * labs * row, sample.labs.data(), sizeof(float) * labs);
    shards_->read(shard, *file, shard.observed_at + labs * row, sample.observed.data(), labs);
  }
  const std::size_t diseases = info().has_labels ? info().diseases.size() : 0;
  sample.labels.resize(diseases);
  if (diseases > 0) shards_->read(shard, *file, shard.labels_at + diseases * row, sample.labels.data(), diseases);
  return sample;
}

std::vector<std::int64_t> PackedReader::indices(Split split) const {
  std::vector<std::int64_t> found;
  for (std::int64_t i = 0; i < size(); ++i) {
    if (shards_->splits[static_cast<std::size_t>(i)] == split) found.push_back(i);
  }
  return found;
}

}  // namespace medfuse::data
