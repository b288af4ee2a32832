#include "src/weights/safetensors.h"

#include <torch/types.h>

#include <cstring>
#include <stdexcept>

#include "base/error.h"
#include "src/weights/mapped_file.h"
#include "src/weights/safetensors_index.h"

namespace medfuse::weights {

namespace {

namespace fs = std::filesystem;

/// The file to start from: `path` itself, or what the folder holds.
fs::path find_start(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(path / name, ignored)) return path / name;
  }
  data_error("{}: holds neither model.safetensors nor model.safetensors.index.json; name a Hugging Face folder with "
             "safetensors weights",
             path.string());
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void check_range(std::int64_t begin, std::int64_t end, std::int64_t size, const std::string& name) {
  if (begin < 0 || begin > end || end > size) {
    throw std::logic_error(fmt::format("slice [{}, {}) of tensor '{}' with {}", begin, end, name, size));
  }
}

/// Wraps mapped bytes; copies where the file has them at an address the type cannot have.
at::Tensor view_bytes(const std::shared_ptr<MappedFile>& file, std::uint64_t begin, std::uint64_t bytes,
                      const std::vector<std::int64_t>& shape, at::ScalarType dtype) {
  if (bytes == 0) return at::empty(shape, dtype);
  std::byte* const data = file->data() + begin;
  if (reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(dtype) != 0) {
    at::Tensor copy = at::empty(shape, dtype);
    std::memcpy(copy.mutable_data_ptr(), data, bytes);
    return copy;
  }
  return torch::from_blob(data, shape, [file](void*) {}, at::TensorOptions().dtype(dtype));
}

}  // namespace

Safetensors Safetensors::open(const fs::path& path) {
  Safetensors result;
  result.path_ = path;
  const fs::path start = find_start(path);
  const auto map_file = [&](const fs::path& file) {
    auto mapped = std::make_shared<MappedFile>(file);
    result.files_.emplace(file, mapped);
    return read_safetensors_header(*mapped, file);
  };
  if (start.extension() != ".json") {
    result.tensors_ = map_file(start);
    return result;
  }
  std::map<std::string, std::map<std::string, TensorInfo>> headers;
  for (const auto& [name, file_name] : read_safetensors_index(start)) {
    if (!headers.contains(file_name)) headers.emplace(file_name, map_file(start.parent_path() / file_name));
    const auto& header = headers.at(file_name);
    const auto found = header.find(name);
    if (found == header.end()) {
      data_error("{}: tensor '{}' is not in it, though {} says so; download the folder again",
                 (start.parent_path() / file_name).string(), name, start.filename().string());
    }
    result.tensors_.emplace(name, found->second);
  }
  return result;
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> result;
  for (const auto& [name, info] : tensors_) result.push_back(name);
  return result;
}

const TensorInfo& Safetensors::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    data_error("{}: tensor '{}' is missing; these weights belong to another model", path_.string(), name);
  }
  return found->second;
}

at::Tensor Safetensors::tensor(const std::string& name) const {
  const TensorInfo& found = info(name);
  return view_bytes(files_.at(found.file), found.begin, found.bytes, found.shape, found.dtype);
}

at::Tensor Safetensors::rows(const std::string& name, std::int64_t begin, std::int64_t end) const {
  const TensorInfo& found = info(name);
  if (found.shape.empty()) throw std::logic_error("rows of the scalar tensor '" + name + "'");
  check_range(begin, end, found.shape[0], name);
  std::vector<std::int64_t> shape = found.shape;
  const std::uint64_t row_bytes = shape[0] == 0 ? 0 : found.bytes / static_cast<std::uint64_t>(shape[0]);
  shape[0] = end - begin;
  return view_bytes(files_.at(found.file), found.begin + static_cast<std::uint64_t>(begin) * row_bytes,
                    static_cast<std::uint64_t>(end - begin) * row_bytes, shape, found.dtype);
}

at::Tensor Safetensors::columns(const std::string& name, std::int64_t begin, std::int64_t end) const {
  const TensorInfo& found = info(name);
  if (found.shape.size() != 2) throw std::logic_error("columns of '" + name + "', which is no matrix");
  check_range(begin, end, found.shape[1], name);
  return tensor(name).slice(1, begin, end).clone(at::MemoryFormat::Contiguous);
}

at::Tensor Safetensors::tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                               const std::string& expected_by) const {
  const TensorInfo& found = info(name);
  if (found.shape != shape) {
    data_error("{}: tensor '{}' has shape {}, but {} needs {}; weights and configuration belong to different models",
               found.file.string(), name, shape_text(found.shape), expected_by, shape_text(shape));
  }
  return tensor(name);
}

}  // namespace medfuse::weights
