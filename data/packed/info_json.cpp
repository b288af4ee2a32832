#include "data/packed/info_json.h"

#include <type_traits>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "data/packed/writer.h"

namespace medfuse::data {
namespace {

using nlohmann::json;

constexpr const char* index_format = "medfuse packed data";

[[noreturn]] void wrong_type(const char* key, const std::string& where) {
  data_error("{}: key '{}' has a wrong type: pack the data again", where, key);
}

template <class T>
T get(const json& object, const char* key, const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) {
    data_error("{}: key '{}' is missing: pack the data again", where, key);
  }
  // The library would cast any number to any other.
  if (std::is_integral_v<T> && !std::is_same_v<T, bool> && !found->is_number_integer()) wrong_type(key, where);
  try {
    return found->get<T>();
  } catch (const json::exception&) {
    wrong_type(key, where);
  }
}

json labs_to_json(const std::vector<LabColumn>& labs) {
  json out = json::array();
  for (const LabColumn& lab : labs) {
    out.push_back({{"item", lab.item}, {"name", lab.name}, {"unit", lab.unit}, {"low", lab.low}, {"high", lab.high}});
  }
  return out;
}

std::vector<LabColumn> labs_from_json(const json& list, const std::string& where) {
  std::vector<LabColumn> labs;
  for (const json& entry : list) {
    LabColumn lab{get<std::int64_t>(entry, "item", where), get<std::string>(entry, "name", where),
                  get<std::string>(entry, "unit", where), get<double>(entry, "low", where),
                  get<double>(entry, "high", where)};
    if (!(lab.high > lab.low)) data_error("{}: lab item {} has no scale: pack the data again", where, lab.item);
    labs.push_back(std::move(lab));
  }
  return labs;
}

std::uint64_t parse_hex(const std::string& text, const std::string& where) {
  std::size_t used = 0;
  std::uint64_t value = 0;
  try {
    value = std::stoull(text, &used, 16);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) data_error("{}: a checksum is not hexadecimal: pack the data again", where);
  return value;
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

PackedInfo info_from_json(const json& object, const std::string& where) {
  using Names = std::vector<std::string>;
  PackedInfo info;
  info.diseases = get<Names>(object, "diseases", where);
  info.disease_codes = get<std::vector<Names>>(object, "disease_codes", where);
  info.labs = labs_from_json(get<json>(object, "labs", where), where);
  info.has_labels = get<bool>(object, "has_labels", where);
  info.tokenizer = get<std::string>(object, "tokenizer", where);
  info.tokenizer_fingerprint = get<std::string>(object, "tokenizer_fingerprint", where);
  info.vocabulary = get<std::int64_t>(object, "vocabulary", where);
  info.max_tokens = get<std::int64_t>(object, "max_tokens", where);
  info.sections = get<Names>(object, "sections", where);
  info.categories = get<Names>(object, "categories", where);
  info.abnormal_labs = get<bool>(object, "abnormal_labs", where);
  info.abnormal_flags = get<Names>(object, "abnormal_flags", where);
  info.tables = get<std::map<std::string, std::string>>(object, "tables", where);
  info.lab_value = get<std::string>(object, "lab_value", where);
  info.window_hours = get<double>(object, "window_hours", where);
  info.samples = get<std::int64_t>(object, "samples", where);
  if (!info.disease_codes.empty() && info.disease_codes.size() != info.diseases.size()) {
    data_error("{}: keys 'diseases' and 'disease_codes' differ in length: pack the data again", where);
  }
  if (info.samples < 0 || info.vocabulary < 1 || info.max_tokens < 1) {
    data_error("{}: 'samples', 'vocabulary' or 'max_tokens' is out of range: pack the data again", where);
  }
  return info;
}

void write_index(const std::filesystem::path& folder, const PackedIndex& index) {
  json shards = json::array();
  for (const ShardEntry& shard : index.shards) {
    shards.push_back({{"file", shard.file},
                      {"samples", shard.samples},
                      {"bytes", shard.bytes},
                      {"xxh64", fmt::format("{:016x}", shard.checksum)},
                      {"arrays", shard.arrays}});
  }
  const json object = {
      {"format", index_format}, {"version", packed_format_version}, {"info", info_to_json(index.info)}, {"shards", shards}};
  write_file_atomically(folder / "index.json", object.dump(1) + "\n");
}

PackedIndex read_index(const std::filesystem::path& file) {
  const std::string where = file.string();
  if (!std::filesystem::exists(file)) {
    data_error("{}: not there, so the folder holds no complete packed data set: run `medfuse pack`", where);
  }
  const json object = parse_json(read_file(file));
  if (object.is_discarded()) data_error("{}: is not valid JSON: pack the data again", where);
  if (get<std::string>(object, "format", where) != index_format) {
    data_error("{}: is not an index of packed data: give a folder that `medfuse pack` wrote", where);
  }
  const auto version = get<std::int64_t>(object, "version", where);
  if (version != packed_format_version) {
    data_error("{}: has format version {}, this program reads {}: pack the data again", where, version, packed_format_version);
  }
  PackedIndex index;
  index.info = info_from_json(get<json>(object, "info", where), where);
  std::int64_t total = 0;
  for (const json& entry : get<json>(object, "shards", where)) {
    ShardEntry shard{get<std::string>(entry, "file", where), get<std::int64_t>(entry, "samples", where),
                     get<std::uint64_t>(entry, "bytes", where),
                     parse_hex(get<std::string>(entry, "xxh64", where), where),
                     {}};
    const json arrays = get<json>(entry, "arrays", where);
    for (const auto& [name, at] : arrays.items()) shard.arrays[name] = get<std::uint64_t>(arrays, name.c_str(), where);
    if (shard.file.empty() || shard.file.find('/') != std::string::npos) {
      data_error("{}: a shard's file is not a plain name: pack the data again", where);
    }
    if (shard.samples < 1 || shard.samples > index.info.samples - total) {
      data_error("{}: the shards' samples do not add up to {}: pack the data again", where, index.info.samples);
    }
    total += shard.samples;
    index.shards.push_back(std::move(shard));
  }
  if (total != index.info.samples) {
    data_error("{}: the shards hold {} samples instead of {}: pack the data again", where, total, index.info.samples);
  }
  return index;
}

}  // namespace medfuse::data
