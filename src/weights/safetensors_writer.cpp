#include "src/weights/safetensors_writer.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/files.h"
#include "src/weights/safetensors_header.h"

namespace medfuse::weights {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t alignment = 64;
constexpr std::int64_t piece_elements = std::int64_t{1} << 22;  // converted at a time

std::string make_header(const std::vector<TensorToWrite>& tensors) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::string_view type = safetensors_type_name(tensor.dtype);
    if (type.empty()) throw std::logic_error("safetensors cannot hold the type of tensor '" + tensor.name + "'");
    if (header.contains(tensor.name)) throw std::logic_error("tensor '" + tensor.name + "' is given twice");
    const std::uint64_t end = begin + tensor.bytes();
    header[tensor.name] = {{"dtype", type}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  text.append((alignment - (8 + text.size()) % alignment) % alignment, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

/// One piece in the type of the file.
at::Tensor convert(const at::Tensor& piece, const TensorToWrite& tensor, const fs::path& path) {
  if (piece.scalar_type() == tensor.dtype) return piece;
  const at::Tensor converted = piece.to(tensor.dtype);
  if (!at::isfinite(converted).all().item<bool>() && at::isfinite(piece).all().item<bool>()) {
    data_error("{}: tensor '{}' has values beyond the range of {}; export it in another type", path.string(),
               tensor.name, safetensors_type_name(tensor.dtype));
  }
  return converted;
}

void write_values(const Descriptor& file, const TensorToWrite& tensor, std::uint64_t begin, const fs::path& path) {
  const at::Tensor values = tensor.values().detach();
  const bool convertible = values.is_floating_point() && c10::isFloatingType(tensor.dtype);
  if (values.sizes() != at::IntArrayRef(tensor.shape) || (values.scalar_type() != tensor.dtype && !convertible)) {
    throw std::logic_error("tensor '" + tensor.name + "' is not what its header says");
  }
  const at::Tensor flat = values.reshape(-1);
  auto offset = static_cast<std::int64_t>(begin);
  for (std::int64_t first = 0; first < flat.numel(); first += piece_elements) {
    const at::Tensor piece = flat.slice(0, first, std::min(first + piece_elements, flat.numel()));
    const at::Tensor stored = convert(piece, tensor, path).to(at::kCPU).contiguous();
    file.write(stored.const_data_ptr(), stored.nbytes(), offset);
    offset += static_cast<std::int64_t>(stored.nbytes());
  }
}

}  // namespace

std::uint64_t TensorToWrite::bytes() const {
  std::uint64_t result = c10::elementSize(dtype);
  for (const std::int64_t extent : shape) result *= static_cast<std::uint64_t>(extent);
  return result;
}

void stream_safetensors(const fs::path& path, std::vector<TensorToWrite> tensors) {
  const auto order = [](const TensorToWrite& tensor) {
    return std::tuple(-static_cast<std::int64_t>(c10::elementSize(tensor.dtype)), std::string_view(tensor.name));
  };
  std::sort(tensors.begin(), tensors.end(),
            [&](const TensorToWrite& a, const TensorToWrite& b) { return order(a) < order(b); });
  const std::string header = make_header(tensors);
  std::uint64_t end = header.size();
  for (const TensorToWrite& tensor : tensors) end += tensor.bytes();
  const Descriptor file = Descriptor::replace(path);
  file.reserve(static_cast<std::int64_t>(end));
  file.write(header.data(), header.size(), 0);
  std::uint64_t begin = header.size();
  for (const TensorToWrite& tensor : tensors) {
    write_values(file, tensor, begin, path);
    begin += tensor.bytes();
  }
  file.sync();
}

std::vector<std::string> write_model_files(const fs::path& folder, std::vector<TensorToWrite> tensors,
                                           std::uint64_t shard_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  std::uint64_t total = 0;
  std::uint64_t filled = 0;
  for (TensorToWrite& tensor : tensors) {
    const std::uint64_t bytes = tensor.bytes();
    if (filled + bytes > shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    total += bytes;
    shards.back().push_back(std::move(tensor));
  }
  if (shards.size() == 1) {
    stream_safetensors(folder / "model.safetensors", std::move(shards[0]));
    return {"model.safetensors"};
  }
  std::vector<std::string> files;
  nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", nlohmann::json::object()}};
  for (std::size_t i = 0; i < shards.size(); ++i) {
    files.push_back(fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    for (const TensorToWrite& tensor : shards[i]) index["weight_map"][tensor.name] = files.back();
    stream_safetensors(folder / files.back(), std::move(shards[i]));
  }
  write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
  return files;
}

void write_safetensors(const fs::path& path, const std::map<std::string, at::Tensor>& tensors) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), [&kept = tensor] { return kept; }});
  }
  PartialFile partial(path);
  stream_safetensors(partial.beside(), std::move(list));
  partial.commit();
}

}  // namespace medfuse::weights
