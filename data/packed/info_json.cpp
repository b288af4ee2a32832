#include "data/packed/info_json.h"

#include <type_traits>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "data/packed/writer.h"

namespace medfuse::data {
namespace {

using nlohmann::json;

constexpr const char* index_format = "medfuse packed data";

/// Where an index lies, and what to do if it is no good.
struct Source {
  std::string where;
  IndexRemedies remedies;

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> what, Args&&... args) const {
    data_error("{}: {}: {}", where, fmt::format(what, std::forward<Args>(args)...), remedies.damaged);
  }
};

template <class T>
T get(const json& object, const char* key, const Source& source) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) source.fail("key '{}' is missing", key);
  constexpr const char* wrong_type = "key '{}' has a wrong type";
  // The library would cast any number to any other.
  if (std::is_integral_v<T> && !std::is_same_v<T, bool> && !found->is_number_integer()) source.fail(wrong_type, key);
  try {
    return found->get<T>();
  } catch (const json::exception&) {
    source.fail(wrong_type, key);
  }
}

json labs_to_json(const std::vector<LabColumn>& labs) {
  json out = json::array();
  for (const LabColumn& lab : labs) {
    out.push_back({{"item", lab.item}, {"name", lab.name}, {"unit", lab.unit}, {"low", lab.low}, {"high", lab.high}});
  }
  return out;
}

std::vector<LabColumn> labs_from_json(const json& list, const Source& source) {
  std::vector<LabColumn> labs;
  for (const json& entry : list) {
    LabColumn lab{get<std::int64_t>(entry, "item", source), get<std::string>(entry, "name", source),
                  get<std::string>(entry, "unit", source), get<double>(entry, "low", source),
                  get<double>(entry, "high", source)};
    if (!(lab.high > lab.low)) source.fail("lab item {} has no scale", lab.item);
    labs.push_back(std::move(lab));
  }
  return labs;
}

PackedInfo info_from_json(const json& object, const Source& source) {
  using Names = std::vector<std::string>;
  PackedInfo info;
  info.diseases = get<Names>(object, "diseases", source);
  info.disease_codes = get<std::vector<Names>>(object, "disease_codes", source);
  info.labs = labs_from_json(get<json>(object, "labs", source), source);
  info.has_labels = get<bool>(object, "has_labels", source);
  info.tokenizer = get<std::string>(object, "tokenizer", source);
  info.tokenizer_fingerprint = get<std::string>(object, "tokenizer_fingerprint", source);
  info.vocabulary = get<std::int64_t>(object, "vocabulary", source);
  info.max_tokens = get<std::int64_t>(object, "max_tokens", source);
  info.sections = get<Names>(object, "sections", source);
  info.categories = get<Names>(object, "categories", source);
  info.abnormal_labs = get<bool>(object, "abnormal_labs", source);
  info.abnormal_flags = get<Names>(object, "abnormal_flags", source);
  info.tables = get<std::map<std::string, std::string>>(object, "tables", source);
  info.lab_value = get<std::string>(object, "lab_value", source);
  info.window_hours = get<double>(object, "window_hours", source);
  info.samples = get<std::int64_t>(object, "samples", source);
  if (!info.disease_codes.empty() && info.disease_codes.size() != info.diseases.size()) {
    source.fail("keys 'diseases' and 'disease_codes' differ in length");
  }
  if (info.samples < 0 || info.vocabulary < 1 || info.max_tokens < 1) {
    source.fail("'samples', 'vocabulary' or 'max_tokens' is out of range");
  }
  return info;
}

ShardEntry shard_from_json(const json& entry, const Source& source) {
  const auto checksum = from_hex(get<std::string>(entry, "xxh64", source));
  if (!checksum) source.fail("a checksum is not 16 hex digits");
  ShardEntry shard{get<std::string>(entry, "file", source), get<std::int64_t>(entry, "samples", source),
                   get<std::uint64_t>(entry, "bytes", source), *checksum, {}};
  const json arrays = get<json>(entry, "arrays", source);
  for (const auto& [name, at] : arrays.items()) shard.arrays[name] = get<std::uint64_t>(arrays, name.c_str(), source);
  if (shard.file.empty() || shard.file.find('/') != std::string::npos) source.fail("a shard's file is not a plain name");
  return shard;
}

/// The index as JSON, once its seal, format and version are right.
json open_index(const std::string& text, const Source& source) {
  const Seal state = check_seal(text);
  if (state == Seal::broken) source.fail("was changed or damaged: its checksum does not fit");
  json object = parse_json(text);
  if (object.is_discarded()) source.fail("is not valid JSON");
  if (get<std::string>(object, "format", source) != index_format) {
    data_error("{}: is not an index of packed data: give a folder that `medfuse pack` wrote", source.where);
  }
  const auto version = get<std::int64_t>(object, "version", source);
  if (version != packed_format_version) {
    data_error("{}: has format version {}, this program reads {}: {}", source.where, version, packed_format_version,
               source.remedies.other_version);
  }
  if (state == Seal::missing) source.fail("was changed or damaged: its first line is not its checksum");
  return object;
}

}  // namespace

json info_to_json(const PackedInfo& info) {
  return {{"diseases", info.diseases},
          {"disease_codes", info.disease_codes},
          {"labs", labs_to_json(info.labs)},
          {"has_labels", info.has_labels},
          {"tokenizer", info.tokenizer},
          {"tokenizer_fingerprint", info.tokenizer_fingerprint},
          {"vocabulary", info.vocabulary},
          {"max_tokens", info.max_tokens},
          {"sections", info.sections},
          {"categories", info.categories},
          {"abnormal_labs", info.abnormal_labs},
          {"abnormal_flags", info.abnormal_flags},
          {"tables", info.tables},
          {"lab_value", info.lab_value},
          {"window_hours", info.window_hours},
          {"samples", info.samples}};
}

void write_index(const std::filesystem::path& folder, const PackedIndex& index) {
  json shards = json::array();
  for (const ShardEntry& shard : index.shards) {
    shards.push_back({{"file", shard.file},
                      {"samples", shard.samples},
                      {"bytes", shard.bytes},
                      {"xxh64", hex(shard.checksum)},
                      {"arrays", shard.arrays}});
  }
  const json object = {
      {"format", index_format}, {"version", packed_format_version}, {"info", info_to_json(index.info)}, {"shards", shards}};
  write_file_atomically(folder / "index.json", sealed(object));
}

PackedIndex read_index(const std::filesystem::path& file, const IndexRemedies& remedies) {
  const Source source{file.string(), remedies};
  if (!std::filesystem::exists(file)) {
    data_error("{}: not there, so the folder holds no complete packed data set: run `medfuse pack`", source.where);
  }
  const json object = open_index(read_file(file), source);
  PackedIndex index;
  index.info = info_from_json(get<json>(object, "info", source), source);
  std::int64_t total = 0;
  for (const json& entry : get<json>(object, "shards", source)) {
    ShardEntry shard = shard_from_json(entry, source);
    if (shard.samples < 1 || shard.samples > index.info.samples - total) {
      source.fail("the shards' samples do not add up to {}", index.info.samples);
    }
    total += shard.samples;
    index.shards.push_back(std::move(shard));
  }
  if (total != index.info.samples) source.fail("the shards hold {} samples instead of {}", total, index.info.samples);
  return index;
}

}  // namespace medfuse::data
