#include "data/cohort/pack.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "data/cohort/cohort.h"
#include "data/cohort/columns.h"
#include "data/cohort/sample_maker.h"
#include "data/packed/writer.h"
#include "data/tokenizer/tokenizer.h"

namespace medfuse::data {
namespace {

namespace fs = std::filesystem;

PackedInfo describe(const PackOptions& options, const TextEncoder& encoder, const Cohort& cohort, const Team& team) {
  PackedInfo info;
  info.diseases = cohort.diseases.names;
  info.disease_codes = cohort.diseases.codes;
  info.labs = options.like ? options.like->labs
                           : fit_columns(options, cohort.admissions, cohort.labs, cohort.names, team);
  info.has_labels = cohort.labels != nullptr;
  info.tokenizer = encoder.path;
  info.tokenizer_fingerprint = encoder.fingerprint;
  info.vocabulary = encoder.vocabulary;
  info.max_tokens = options.max_tokens;
  for (const std::string& section : options.sections) info.sections.push_back(canonical_section(section));
  info.categories = options.categories;
  info.abnormal_labs = options.abnormal_labs;
  info.abnormal_flags = options.abnormal_flags;
  for (const TableOption& row : table_options()) info.tables[row.option] = options.tables.*row.member;
  info.lab_value = options.lab_value;
  info.window_hours = options.window_hours;
  return info;
}

/// Mistakes in the configuration that show only in what it finds.
void check_cohort(const PackOptions& options, const Cohort& cohort, const Team& team) {
  if (options.like) return;  // a few new patients may well lack anything
  std::vector<double> found = {0, 0};
  for (std::size_t own = 0; own < cohort.admissions.owned(); ++own) {
    if (!options.tables.notes.empty() && cohort.notes.any(own)) found[0] += 1;
    if (cohort.labels) {
      const auto& labels = cohort.labels->of(own);
      found[1] += static_cast<double>(std::count(labels.begin(), labels.end(), 1));
    }
  }
  team.sum(found);
  if (!options.tables.notes.empty() && found[0] == 0) {
    data_error("{}: no note has any of the sections '{}': check text.sections and text.note_categories, or set "
               "tables.notes to nothing", options.tables.notes, fmt::join(options.sections, ", "));
  }
  if (cohort.labels && found[1] == 0) {
    data_error("{}: no admission has any of these diseases: check the prefixes against {}", options.diseases,
               options.tables.diagnoses);
  }
}

/// Shards are written to a folder inside the output folder: a data set that is there already stays whole until the new one
/// is. Made, cleared and emptied by one member, used by all.
class Staging {
 public:
  Staging(const fs::path& output, bool first) : output_(output), folder_(output / ".packing"), first_(first) {
    if (!first_) return;
    std::error_code error;
    made_ = !fs::exists(output_, error);
    make_private_folder(output_);
    fs::remove_all(folder_, error);  // of a packing that was killed
    make_private_folder(folder_);
  }
  ~Staging() {
    if (!first_) return;
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    if (made_) fs::remove(output_, ignored);  // goes if it is empty
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const fs::path& folder() const { return folder_; }

  /// Puts the shards in the place of earlier ones. An old index would describe new shards: it goes first.
  void move(const std::vector<ShardEntry>& shards) const {
    if (!first_) return;
    std::error_code error;
    fs::remove(output_ / "index.json", error);
    std::vector<fs::path> old;
    for (const fs::directory_entry& entry : fs::directory_iterator(output_, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("shard-") && name.ends_with(".h5")) old.push_back(entry.path());
    }
    for (const fs::path& path : old) fs::remove(path, error);
    if (error) data_error("{}: cannot be cleared of earlier shards ({})", output_.string(), error.message());
    for (const ShardEntry& shard : shards) {
      fs::rename(folder_ / shard.file, output_ / shard.file, error);
      if (error) data_error("{}: cannot be moved from {} ({})", shard.file, folder_.string(), error.message());
    }
    sync_path(output_);
  }

 private:
  fs::path output_, folder_;
  bool first_;
  bool made_ = false;
};

/// Every member learns of all shards. Each number comes from one member and zeros from the others, so sums are exact.
std::vector<ShardEntry> gather(const std::vector<ShardEntry>& own, const std::vector<std::size_t>& blocks,
                               std::size_t count, const std::vector<std::string>& datasets, const Team& team) {
  const std::size_t each = 4 + datasets.size();
  std::vector<double> numbers(each * count, 0);
  for (std::size_t i = 0; i < own.size(); ++i) {
    double* at = numbers.data() + each * blocks[i];
    at[0] = static_cast<double>(own[i].samples);
    at[1] = static_cast<double>(own[i].bytes);
    at[2] = static_cast<double>(own[i].checksum >> 32);
    at[3] = static_cast<double>(own[i].checksum & 0xffffffffu);
    for (std::size_t k = 0; k < datasets.size(); ++k) at[4 + k] = static_cast<double>(own[i].arrays.at(datasets[k]));
  }
  team.sum(numbers);
  std::vector<ShardEntry> all;
  for (std::size_t block = 0; block < count; ++block) {
    const double* at = numbers.data() + each * block;
    if (at[0] == 0) continue;
    all.push_back({shard_name(static_cast<std::int64_t>(block)), static_cast<std::int64_t>(at[0]),
                   static_cast<std::uint64_t>(at[1]),
                   (static_cast<std::uint64_t>(at[2]) << 32) | static_cast<std::uint64_t>(at[3]), {}});
    for (std::size_t k = 0; k < datasets.size(); ++k) all.back().arrays[datasets[k]] = static_cast<std::uint64_t>(at[4 + k]);
  }
  return all;
}

/// Sums a member's counts over the team into the summary.
void add_up(const SampleMaker& maker, const Team& team, PackSummary& summary) {
  std::vector<std::int64_t*> targets = {&summary.left_out,  &summary.undiagnosed, &summary.with_notes,
                                        &summary.truncated, &summary.tokens,      &summary.observed};
  std::vector<double> values;
  for (const std::int64_t v : {maker.left_out, maker.undiagnosed, maker.with_notes, maker.truncated, maker.tokens,
                               maker.observed}) {
    values.push_back(static_cast<double>(v));
  }
  for (std::size_t s = 0; s < 3; ++s) {
    summary.positives[s].assign(maker.positives[s].size(), 0);
    targets.push_back(&summary.samples[s]);
    values.push_back(static_cast<double>(maker.by_split[s]));
    for (std::size_t d = 0; d < maker.positives[s].size(); ++d) {
      targets.push_back(&summary.positives[s][d]);
      values.push_back(static_cast<double>(maker.positives[s][d]));
    }
  }
  team.sum(values);
  for (std::size_t i = 0; i < targets.size(); ++i) *targets[i] = static_cast<std::int64_t>(values[i]);
  std::vector<double> longest = {static_cast<double>(maker.longest)};
  team.max(longest);
  summary.longest = static_cast<std::int64_t>(longest[0]);
}

}  // namespace

TextEncoder text_encoder(const Tokenizer& tokenizer, const std::string& path) {
  // A copy shares the loaded tables. The file's own truncation must not shorten lines: text.max_tokens counts.
  const auto encode = [tokenizer](std::string_view text, bool special) {
    constexpr std::size_t any_length = std::size_t{1} << 30;
    return tokenizer.encode_at_most(text, any_length, Tokenizer::Side::right, special);
  };
  return {encode, path, tokenizer.fingerprint(), tokenizer.vocabulary()};
}

PackSummary pack(const PackOptions& options, const TextEncoder& encoder, const Team& team,
                 const PackReporter& reporter) {
  check_options(options);
  if (options.like && options.like->tokenizer_fingerprint != encoder.fingerprint) {
    data_error("{}: is another tokenizer than the one the data set or run was made with ({}): give that one",
               encoder.path, options.like->tokenizer);
  }
  const bool first = team.index == 0;
  const Staging staging(options.output, first);
  BadRows bad(options.bad_rows, first ? reporter.log : [](const std::string&) {});
  ScanContext context{bad, first ? reporter.progress : [](const std::string&, std::uint64_t) {}};
  const Cohort cohort(options, team, context);
  check_cohort(options, cohort, team);
  PackSummary summary;
  PackedIndex index;
  index.info = describe(options, encoder, cohort, team);
  team.barrier();  // the folder is there

  SampleMaker maker(index.info, cohort, encoder);
  std::vector<ShardEntry> written;
  std::vector<std::size_t> blocks;
  const Admissions& admissions = cohort.admissions;
  for (auto block = static_cast<std::size_t>(team.index); block < admissions.blocks();
       block += static_cast<std::size_t>(team.count)) {
    const auto samples = maker.make(admissions.block_begin(block), admissions.block_end(block));
    if (samples.empty()) continue;
    written.push_back(write_shard(staging.folder(), static_cast<std::int64_t>(block), index.info, samples));
    blocks.push_back(block);
  }
  index.shards = gather(written, blocks, admissions.blocks(), dataset_names(index.info), team);
  for (const ShardEntry& shard : index.shards) index.info.samples += shard.samples;
  if (index.info.samples == 0) {
    data_error("{}: no admission has a chosen section or lab result: check tables.*, text.* and labs.*",
               options.input.string());
  }
  add_up(maker, team, summary);
  summary.info = index.info;
  summary.tables = cohort.counts;
  summary.admissions = static_cast<std::int64_t>(admissions.size());
  summary.shards = static_cast<std::int64_t>(index.shards.size());
  staging.move(index.shards);
  if (first) write_index(options.output, index);
  team.barrier();  // the index is there for every member
  return summary;
}

}  // namespace medfuse::data
