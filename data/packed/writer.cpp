#include "data/packed/writer.h"

#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/hdf5.h"

namespace medfuse::data {
namespace {

void check_sample(const PackedInfo& info, const Sample& sample) {
  const bool fits = sample.labs.size() == info.labs.size() && sample.observed.size() == info.labs.size() &&
                    sample.labels.size() == (info.has_labels ? info.diseases.size() : 0) && !sample.tokens.empty() &&
                    static_cast<std::int64_t>(sample.tokens.size()) <= info.max_tokens;
  if (!fits) throw std::logic_error(fmt::format("write_shard: sample {} does not fit the data set", sample.admission));
}

void write_attributes(hdf5::File& file, const PackedInfo& info) {
  file.set_attribute("format", std::string("medfuse packed data"));
  file.set_attribute("version", packed_format_version);
  file.set_attribute("diseases", info.diseases);
  file.set_attribute("has_labels", static_cast<std::int64_t>(info.has_labels));
  std::vector<std::int64_t> items;
  std::vector<std::string> names, units;
  std::vector<double> lows, highs;
  for (const LabColumn& lab : info.labs) {
    items.push_back(lab.item);
    names.push_back(lab.name);
    units.push_back(lab.unit);
    lows.push_back(lab.low);
    highs.push_back(lab.high);
  }
  file.set_attribute("lab_items", items);
  file.set_attribute("lab_names", names);
  file.set_attribute("lab_units", units);
  file.set_attribute("lab_low", lows);
  file.set_attribute("lab_high", highs);
  file.set_attribute("lab_value", info.lab_value);
  file.set_attribute("window_hours", info.window_hours);
  file.set_attribute("sections", info.sections);
  file.set_attribute("tokenizer_fingerprint", info.tokenizer_fingerprint);
  file.set_attribute("vocabulary", info.vocabulary);
  file.set_attribute("max_tokens", info.max_tokens);
  file.set_attribute("split_names", std::vector<std::string>{"train", "validation", "test"});
}

}  // namespace

const char* split_name(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::validation:
      return "validation";
    case Split::test:
      return "test";
  }
  throw std::logic_error("split_name: not a split");
}

std::vector<std::string> dataset_names(const PackedInfo& info) {
  std::vector<std::string> names = {"admission", "patient", "split", "tokens/values", "tokens/offsets"};
  if (!info.labs.empty()) names.insert(names.end(), {"labs/values", "labs/observed"});
  if (info.has_labels && !info.diseases.empty()) names.emplace_back("labels");
  return names;
}

std::string shard_name(std::int64_t number) { return fmt::format("shard-{:05}.h5", number); }

ShardEntry write_shard(const std::filesystem::path& folder, std::int64_t number, const PackedInfo& info,
                       std::span<const Sample> samples) {
  std::vector<std::int64_t> admissions, patients, offsets = {0};
  std::vector<std::uint8_t> splits, observed, labels;
  std::vector<std::int32_t> tokens;
  std::vector<float> labs;
  for (const Sample& sample : samples) {
    check_sample(info, sample);
    admissions.push_back(sample.admission);
    patients.push_back(sample.patient);
    splits.push_back(static_cast<std::uint8_t>(sample.split));
    tokens.insert(tokens.end(), sample.tokens.begin(), sample.tokens.end());
    offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    labs.insert(labs.end(), sample.labs.begin(), sample.labs.end());
    observed.insert(observed.end(), sample.observed.begin(), sample.observed.end());
    labels.insert(labels.end(), sample.labels.begin(), sample.labels.end());
  }
  ShardEntry entry;
  entry.file = shard_name(number);
  entry.samples = static_cast<std::int64_t>(samples.size());
  PartialFile partial(folder / entry.file);
  hdf5::File file = hdf5::File::create(partial.beside());
  write_attributes(file, info);
  const auto write = [&]<class T>(const char* name, const std::vector<T>& values, std::size_t columns = 0) {
    columns > 0 ? file.write_matrix(name, values, columns) : file.write(name, values);
    entry.arrays[name] = file.offset<T>(name);
  };
  write("admission", admissions);
  write("patient", patients);
  write("split", splits);
  write("tokens/values", tokens);
  write("tokens/offsets", offsets);
  if (!info.labs.empty()) {
    write("labs/values", labs, info.labs.size());
    write("labs/observed", observed, info.labs.size());
  }
  if (info.has_labels && !info.diseases.empty()) write("labels", labels, info.diseases.size());
  file.close();
  entry.bytes = std::filesystem::file_size(partial.beside());
  entry.checksum = file_checksum(partial.beside());
  partial.commit();
  return entry;
}

}  // namespace medfuse::data
