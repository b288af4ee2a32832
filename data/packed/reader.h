// Reads a packed data set: samples by their index, in the order of the admission ids, whatever shard holds them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "data/packed/packed.h"

namespace medfuse::data {

class PackedReader {
 public:
  /// Reads index.json and, unless `verify` is false, checks every shard against its checksum. The HDF5
  /// library is not needed: the index tells where the arrays lie.
  /// Throws Error(data) naming the file, what is wrong with it and the remedy.
  explicit PackedReader(const std::filesystem::path& folder, bool verify = true);
  ~PackedReader();

  const std::filesystem::path& folder() const;
  const PackedInfo& info() const;
  std::int64_t size() const;
  /// Throws Error(data) for an unreadable shard.
  Sample sample(std::int64_t index) const;
  /// Ids, splits and token counts of all samples, cheap and held in memory.
  std::span<const std::int64_t> admissions() const;
  std::span<const Split> splits() const;
  std::span<const std::int32_t> lengths() const;
  /// Indices of one split's samples, ascending.
  std::vector<std::int64_t> indices(Split split) const;

 private:
  struct Shards;
  std::unique_ptr<Shards> shards_;
};

}  // namespace medfuse::data
