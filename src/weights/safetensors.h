// Safetensors files, single or sharded by an index, mapped into memory: tensors are views of the mapping, so that ranks
// of one node share one copy and each reads only what it uses. Format: https://huggingface.co/docs/safetensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/weights/safetensors_header.h"

namespace medfuse::weights {

/// All tensors of a file or folder. Reading is thread-safe. Errors are Error(data) naming file and tensor.
class Safetensors {
 public:
  /// `path`: a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json. Checks every
  /// header field: a truncated or malicious file is an error here, never a crash later.
  static Safetensors open(const std::filesystem::path& path);

  std::vector<std::string> names() const;  ///< sorted
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// Throws Error(data) if there is no such tensor.
  const TensorInfo& info(const std::string& name) const;

  /// View of the whole tensor, alive as long as the result is. Writing into it never reaches the file.
  at::Tensor tensor(const std::string& name) const;
  /// Rows [begin, end) of the first dimension: a view. Throws std::logic_error for a range outside.
  at::Tensor rows(const std::string& name, std::int64_t begin, std::int64_t end) const;
  /// Columns [begin, end) of a matrix: a contiguous copy of just these. Throws std::logic_error for a range outside.
  at::Tensor columns(const std::string& name, std::int64_t begin, std::int64_t end) const;
  /// tensor(name), after checking the shape; `expected_by` (a file, a key) goes into the error.
  at::Tensor tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                    const std::string& expected_by) const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::filesystem::path, std::shared_ptr<MappedFile>> files_;
};

}  // namespace medfuse::weights
