#include "src/weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"
#include "src/weights/mapped_file.h"

namespace medfuse::weights {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr std::uint64_t max_header_bytes = 100'000'000;  // the format's own limit
constexpr char again[] = "the file is damaged or not a safetensors file: download or convert it again";

struct TypeName {
  std::string_view name;
  c10::ScalarType type;
  std::uint64_t bytes;
};
constexpr std::array<TypeName, 10> type_names{{{"F64", c10::ScalarType::Double, 8},
                                               {"F32", c10::ScalarType::Float, 4},
                                               {"F16", c10::ScalarType::Half, 2},
                                               {"BF16", c10::ScalarType::BFloat16, 2},
                                               {"I64", c10::ScalarType::Long, 8},
                                               {"I32", c10::ScalarType::Int, 4},
                                               {"I16", c10::ScalarType::Short, 2},
                                               {"I8", c10::ScalarType::Char, 1},
                                               {"U8", c10::ScalarType::Byte, 1},
                                               {"BOOL", c10::ScalarType::Bool, 1}}};

/// Text from a file that may be hostile, fit for one line of an error.
std::string printable(const std::string& text) {
  std::string result;
  for (const char c : text.substr(0, 120)) result += (c >= 0x20 && c < 0x7f) ? c : '?';
  return result;
}

nlohmann::json parse_header(std::string_view text, const std::filesystem::path& path) {
  std::set<std::string> names;
  std::string repeated;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (event == nlohmann::json::parse_event_t::key && depth == 1) {
      const std::string name = value.get<std::string>();
      if (!names.insert(name).second) repeated = name;
    }
    return true;
  };
  nlohmann::json header = nlohmann::json::parse(text, watch, false);
  if (!repeated.empty()) data_error("{}: tensor '{}' is listed twice; {}", path.string(), printable(repeated), again);
  if (!header.is_object()) data_error("{}: its header is not a JSON object; {}", path.string(), again);
  return header;
}

/// Reads one entry; `size`: bytes of data behind the header, `start`: where they begin.
TensorInfo read_entry(const nlohmann::json& entry, const std::string& name, std::uint64_t start, std::uint64_t size,
                      const std::filesystem::path& path) {
  const auto fail = [&](const std::string& what) {
    data_error("{}: tensor '{}': {}; {}", path.string(), printable(name), what, again);
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) fail("has no dtype");
  const std::string type_name = entry["dtype"].get<std::string>();
  const auto* const type =
      std::find_if(type_names.begin(), type_names.end(), [&](const TypeName& t) { return t.name == type_name; });
  if (type == type_names.end()) {
    data_error("{}: tensor '{}': element type '{}' is not supported; use weights in F32, BF16, F16 or F64",
               path.string(), printable(name), printable(type_name));
  }
  TensorInfo info;
  info.dtype = type->type;
  info.file = path;
  if (!entry.contains("shape") || !entry["shape"].is_array()) fail("has no shape");
  std::uint64_t bytes = type->bytes;
  for (const nlohmann::json& extent : entry["shape"]) {
    if (!extent.is_number_unsigned()) fail("has a shape that is not a list of sizes");
    const auto n = extent.get<std::uint64_t>();
    if (n > INT64_MAX || __builtin_mul_overflow(bytes, n, &bytes)) fail("has a shape too large to be true");
    info.shape.push_back(static_cast<std::int64_t>(n));
  }
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    fail("has no data_offsets");
  }
  const auto begin = (*offsets)[0].get<std::uint64_t>();
  const auto end = (*offsets)[1].get<std::uint64_t>();
  if (begin > end) fail(fmt::format("begins at byte {} behind its end {}", begin, end));
  if (end > size) {
    fail(fmt::format("ends at byte {} of the data, but the file holds only {} (truncated?)", end, size));
  }
  if (end - begin != bytes) fail(fmt::format("its shape needs {} bytes, but it holds {}", bytes, end - begin));
  info.begin = start + begin;
  info.bytes = bytes;
  return info;
}

void check_cover(const std::map<std::string, TensorInfo>& tensors, std::uint64_t start, std::uint64_t end,
                 const std::filesystem::path& path) {
  std::vector<std::pair<std::uint64_t, const std::string*>> order;
  for (const auto& [name, info] : tensors) {
    if (info.bytes > 0) order.emplace_back(info.begin, &name);
  }
  std::sort(order.begin(), order.end());
  std::uint64_t position = start;
  for (const auto& [begin, name] : order) {
    if (begin != position) {
      data_error("{}: tensor '{}': {} the tensor before it; {}", path.string(), printable(*name),
                 begin < position ? "overlaps" : "leaves a gap behind", again);
    }
    position += tensors.at(*name).bytes;
  }
  if (position != end) data_error("{}: {} bytes behind the last tensor; {}", path.string(), end - position, again);
}

}  // namespace

std::string_view safetensors_type_name(c10::ScalarType type) {
  for (const TypeName& known : type_names) {
    if (known.type == type) return known.name;
  }
  return {};
}

std::map<std::string, TensorInfo> read_safetensors_header(const MappedFile& file, const std::filesystem::path& path) {
  if (file.size() < 8) data_error("{}: {} bytes are too few for a header; {}", path.string(), file.size(), again);
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > max_header_bytes || length > file.size() - 8) {
    data_error("{}: announces a header of {} bytes, but holds {} in all; {}", path.string(), length, file.size(), again);
  }
  const std::uint64_t start = 8 + length;
  const nlohmann::json header = parse_header({reinterpret_cast<const char*>(file.data()) + 8, length}, path);
  std::map<std::string, TensorInfo> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") tensors.emplace(name, read_entry(entry, name, start, file.size() - start, path));
  }
  check_cover(tensors, start, file.size(), path);
  return tensors;
}

}  // namespace medfuse::weights
