// Writes safetensors tensor by tensor, so that no more than one of them is in memory: one file, or the files of a
// Hugging Face folder with their index.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace medfuse::weights {

/// A tensor in a file to be: what the header says of it, and its values for when their turn comes.
struct TensorToWrite {
  std::string name;
  at::ScalarType dtype = at::kFloat;  ///< in the file
  std::vector<std::int64_t> shape;
  /// Called once. Gives the shape above on any device; another floating type than `dtype` is converted piece by piece.
  std::function<at::Tensor()> values;

  std::uint64_t bytes() const;  ///< in the file
};

/// Writes one file, mode 0600, and flushes it to the disk; its space is reserved first, so that a full disk shows at
/// once. The order inside is by size of the elements, then by name: every tensor is aligned, the data as a whole to 64
/// bytes. Metadata is {"format": "pt"}, which transformers asks for. Throws Error(data) naming the path, and the tensor
/// where finite values of it are none in `dtype`; std::logic_error for a type that the format has no name for, and for
/// a name given twice.
void stream_safetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors);

/// Writes model.safetensors, or where that would exceed `shard_bytes` of data model-00001-of-0000N.safetensors and
/// model.safetensors.index.json; a tensor larger than that has a file of its own. Files are filled in the order given.
/// Returns the names of the files of tensors. Throws as stream_safetensors does.
std::vector<std::string> write_model_files(const std::filesystem::path& folder, std::vector<TensorToWrite> tensors,
                                           std::uint64_t shard_bytes);

/// Writes one file atomically from tensors in memory, on any device.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors);

}  // namespace medfuse::weights
