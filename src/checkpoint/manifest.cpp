#include "src/checkpoint/manifest.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/files.h"
#include "base/json.h"
#include "src/checkpoint/dtype.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kFormat = "medfuse-checkpoint";
constexpr std::int64_t kVersion = 1;

/// Reads one level of the manifest; every failure names the place.
class Fields {
 public:
  Fields(const json& object, fs::path file, std::string place)
      : object_(object), file_(std::move(file)), place_(std::move(place)) {
    if (!object_.is_object()) fail("must be an object");
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw DamagedError(fmt::format("{}: {}{}{}; delete the folder to continue from an older checkpoint", file_.string(),
                                   place_, place_.empty() ? "" : ": ", what));
  }
  const json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) fail(fmt::format("'{}' is missing", key));
    return *found;
  }
  std::string text(const char* key) const {
    const json& value = at(key);
    if (!value.is_string()) fail(fmt::format("'{}' must be a text", key));
    return value.get<std::string>();
  }
  std::int64_t whole(const char* key) const { return whole(at(key), key); }
  std::uint64_t checksum(const json& value, const char* key) const {
    const auto parsed = value.is_string() ? from_hex(value.get_ref<const std::string&>()) : std::nullopt;
    if (!parsed) fail(fmt::format("'{}' must hold 16 hex digits", key));
    return *parsed;
  }
  Shape shape(const char* key) const {
    Shape shape;
    for (const json& value : array(key)) shape.push_back(whole(value, key));
    return shape;
  }
  const json& array(const char* key) const {
    const json& value = at(key);
    if (!value.is_array()) fail(fmt::format("'{}' must be a list", key));
    return value;
  }

 private:
  std::int64_t whole(const json& value, const char* key) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= std::uint64_t{1} << 62) {
      fail(fmt::format("'{}' must be a whole number that is not negative", key));
    }
    return value.get<std::int64_t>();
  }

  const json& object_;
  fs::path file_;
  std::string place_;
};

FileEntry parse_file(const json& object, const fs::path& path, std::size_t index) {
  const Fields fields(object, path, fmt::format("file {}", index));
  FileEntry file{fields.text("name"), fields.whole("bytes"), fields.checksum(fields.at("header"), "header")};
  // A name only: a manifest must not lead the reader out of its folder.
  if (file.name.empty() || file.name.find('/') != std::string::npos || file.name[0] == '.') {
    fields.fail(fmt::format("'{}' is not a file name", file.name));
  }
  return file;
}

Shard parse_shard(const json& object, const fs::path& path, const TensorInfo& tensor, std::size_t index,
                  const std::vector<FileEntry>& files) {
  const Fields fields(object, path, fmt::format("tensor {}, shard {}", tensor.name, index));
  Shard shard;
  const std::int64_t file = fields.whole("file");
  if (file >= static_cast<std::int64_t>(files.size())) fields.fail("'file' is out of range");
  shard.file = static_cast<std::size_t>(file);
  shard.dataset = fields.text("dataset");
  shard.byte_offset = fields.whole("byte_offset");
  shard.box = {fields.shape("offset"), fields.shape("extent")};
  if (!inside(shard.box, tensor.shape)) fields.fail("'offset' and 'extent' lie outside the tensor");
  const std::int64_t bytes = shard_bytes(tensor, shard);
  if (bytes == 0) fields.fail("'extent' is empty");
  const FileEntry& entry = files[shard.file];
  if (bytes > entry.bytes || shard.byte_offset > entry.bytes - bytes) fields.fail("lies outside " + entry.name);
  for (const json& block : fields.array("blocks")) shard.blocks.push_back(fields.checksum(block, "blocks"));
  if (static_cast<std::int64_t>(shard.blocks.size()) != (bytes + kBlockBytes - 1) / kBlockBytes) {
    fields.fail("'blocks' has a wrong number of checksums");
  }
  return shard;
}

TensorEntry parse_tensor(const json& object, const fs::path& path, std::size_t index,
                         const std::vector<FileEntry>& files) {
  const Fields unnamed(object, path, fmt::format("tensor number {}", index));
  TensorEntry tensor;
  tensor.info.name = unnamed.text("name");
  const Fields fields(object, path, "tensor " + tensor.info.name);
  const std::string dtype = fields.text("dtype");
  const auto type = dtype_from_name(dtype);
  if (!type) fields.fail(fmt::format("unknown 'dtype' {}", dtype));
  tensor.info.dtype = *type;
  tensor.info.shape = fields.shape("shape");
  const auto elements = volume(tensor.info.shape);
  if (!elements || *elements > (std::int64_t{1} << 62) / 8) fields.fail("'shape' is too large");
  std::vector<Box> boxes;
  for (const json& shard : fields.array("shards")) {
    tensor.shards.push_back(parse_shard(shard, path, tensor.info, tensor.shards.size(), files));
    boxes.push_back(tensor.shards.back().box);
  }
  if (!tile(boxes, tensor.info.shape)) fields.fail("its shards do not make up the tensor");
  return tensor;
}

void check_file_size(const fs::path& folder, const FileEntry& file) {
  const fs::path path = folder / file.name;
  constexpr const char* remedy = "restore the file, or delete the folder to continue from an older checkpoint";
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) throw DamagedError(fmt::format("{}: {}; {}", path.string(), error.message(), remedy));
  if (static_cast<std::int64_t>(bytes) != file.bytes) {
    throw DamagedError(fmt::format("{}: {} bytes instead of {}; {}", path.string(), bytes, file.bytes, remedy));
  }
}

json parse_text(const std::string& text, const Fields& root) {
  const Seal state = check_seal(text);
  if (state == Seal::missing) root.fail("is not the manifest of a checkpoint");
  if (state == Seal::broken) root.fail("was changed or damaged: its checksum does not fit");
  json parsed = parse_json(text);
  if (parsed.is_discarded()) root.fail("is not valid JSON");
  return parsed;
}

/// A list with one item a line.
std::string lines(const json& list) {
  std::string text = "[";
  for (const json& item : list) text += (text.size() > 1 ? ",\n  " : "\n  ") + item.dump();
  return text + "]";
}

}  // namespace

const TensorEntry* Manifest::find(const std::string& name) const {
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name,
                                      [](const TensorEntry& t, const std::string& n) { return t.info.name < n; });
  return found != tensors.end() && found->info.name == name ? &*found : nullptr;
}

std::int64_t shard_bytes(const TensorInfo& tensor, const Shard& shard) {
  return volume(shard.box.extent).value() * dtype_bytes(tensor.dtype);
}

json shard_to_json(const Shard& shard) {
  json blocks = json::array();
  for (const std::uint64_t block : shard.blocks) blocks.push_back(hex(block));
  return {{"file", shard.file},         {"dataset", shard.dataset},   {"byte_offset", shard.byte_offset},
          {"offset", shard.box.offset}, {"extent", shard.box.extent}, {"blocks", std::move(blocks)}};
}

std::string to_text(const Manifest& manifest) {
  json files = json::array(), tensors = json::array();
  for (const FileEntry& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"header", hex(file.header)}});
  }
  for (const TensorEntry& tensor : manifest.tensors) {
    json shards = json::array();
    for (const Shard& shard : tensor.shards) shards.push_back(shard_to_json(shard));
    tensors.push_back({{"name", tensor.info.name},
                       {"dtype", dtype_name(tensor.info.dtype)},
                       {"shape", tensor.info.shape},
                       {"shards", std::move(shards)}});
  }
  // Settings in `extra` may hold paths, which need not be UTF-8.
  const std::string extra = manifest.extra.dump(-1, ' ', false, json::error_handler_t::replace);
  return seal(fmt::format(
      " \"format\": \"{}\",\n \"version\": {},\n \"step\": {},\n \"block_bytes\": {},\n \"extra\": {},\n \"files\": "
      "{},\n"
      " \"tensors\": {}}}\n",
      kFormat, kVersion, manifest.step, kBlockBytes, extra, lines(files), lines(tensors)));
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  static const json nothing = json::object();
  const Fields unread(nothing, path, "");
  std::string text;
  try {
    text = read_file(path);
  } catch (const Error& error) {
    throw DamagedError(std::string(error.what()) + "; the checkpoint is not complete: delete its folder");
  }
  const json parsed = parse_text(text, unread);
  const Fields root(parsed, path, "");
  if (root.text("format") != kFormat) root.fail("is not the manifest of a checkpoint");
  if (const std::int64_t version = root.whole("version"); version != kVersion) {
    data_error("{}: format version {} is not known to this program (it knows {}); use the program that wrote it",
               path.string(), version, kVersion);
  }
  if (root.whole("block_bytes") != kBlockBytes) root.fail("'block_bytes' must be 1048576");
  Manifest manifest;
  manifest.step = root.whole("step");
  manifest.extra = root.at("extra");
  for (const json& file : root.array("files")) {
    manifest.files.push_back(parse_file(file, path, manifest.files.size()));
    check_file_size(folder, manifest.files.back());
  }
  for (const json& tensor : root.array("tensors")) {
    manifest.tensors.push_back(parse_tensor(tensor, path, manifest.tensors.size(), manifest.files));
  }
  for (std::size_t i = 1; i < manifest.tensors.size(); ++i) {
    if (manifest.tensors[i - 1].info.name >= manifest.tensors[i].info.name)
      root.fail("'tensors' are not sorted by name");
  }
  return manifest;
}

}  // namespace medfuse::checkpoint
