#include "data/cohort/admissions.h"

#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "base/random.h"
#include "data/cohort/text.h"
#include "data/tables/fields.h"

namespace medfuse::data {
namespace {

std::optional<Split> parse_split(std::string_view text) {
  const std::string name = lower(trim(text));
  if (name == "train" || name == "training") return Split::train;
  if (name == "validation" || name == "val" || name == "valid" || name == "dev") return Split::validation;
  if (name == "test") return Split::test;
  return std::nullopt;
}

std::unordered_map<std::int64_t, Split> read_splits(const PackOptions& options, ScanContext& context,
                                                    std::vector<TableCount>& counts) {
  const std::filesystem::path path = configured_file(options.split_file, options, "split.file");
  TableScan scan(path,
                 {{options.tables.splits_patient, "tables.splits.patient"},
                  {options.tables.splits_split, "tables.splits.split"}},
                 context);
  std::unordered_map<std::int64_t, Split> splits;
  while (scan.next()) {
    const auto patient = parse_integer(scan[0]);
    const auto split = parse_split(scan[1]);
    if (!patient) {
      scan.bad("unparsable patient id");
    } else if (!split) {
      scan.bad("the split is not train, validation or test");
    } else if (const auto [at, added] = splits.emplace(*patient, *split); !added && at->second != *split) {
      data_error("{}: row {} puts a patient into {} who is in {} above: give each patient one split", path.string(),
                 scan.reader().row(), split_name(*split), split_name(at->second));
    }
  }
  counts.push_back(scan.finish());
  return splits;
}

}  // namespace

Split split_of(std::int64_t patient, std::uint64_t seed, double train, double validation) {
  const double u = uniform(key({name_counter("patient split"), seed, static_cast<std::uint64_t>(patient)}));
  if (u < train) return Split::train;
  return u < train + validation ? Split::validation : Split::test;
}

std::filesystem::path configured_file(const std::string& path, const PackOptions& options, const std::string& option) {
  if (std::filesystem::exists(path)) return path;
  if (std::filesystem::exists(options.input / path)) return options.input / path;
  data_error("{}: not there, neither from the working folder nor from {}: correct {}", path, options.input.string(),
             option);
}

Admissions::Admissions(const PackOptions& options, const Team& team, ScanContext& context,
                       std::vector<TableCount>& counts) {
  const TableNames& t = options.tables;
  const bool timed = options.window_hours > 0;
  TableScan scan(require_table(options.input, t.admissions, "tables.admissions"),
                 {{t.admissions_id, "tables.admissions.id"},
                  {t.admissions_patient, "tables.admissions.patient"},
                  {timed ? t.admissions_time : "", "tables.admissions.time"},
                  {t.admissions_text, "tables.admissions.text"}},
                 context);
  if (!scan.has(0)) usage_error("tables.admissions.id is empty: admissions need an id");
  if (!scan.has(1)) usage_error("tables.admissions.patient is empty: splits are made by patient");
  if (timed && !scan.has(2)) usage_error("tables.admissions.time is empty, but labs.window_hours needs it");
  std::unordered_map<std::int64_t, std::uint64_t> rows;
  while (scan.next()) {
    const auto id = parse_integer(scan[0]);
    const auto patient = parse_integer(scan[1]);
    const auto time = timed ? parse_time(scan[2]) : std::optional<std::int64_t>(0);
    if (!id) {
      scan.bad("unparsable admission id");
    } else if (!patient) {
      scan.bad("unparsable patient id");
    } else if (!time) {
      scan.bad("unparsable time of admission");
    } else if (!rows.emplace(*id, scan.reader().row()).second) {
      scan.bad("the admission id was there already");
    } else {
      all_.push_back({*id, *patient, *time, one_line(scan[3]), Split::test});
    }
  }
  counts.push_back(scan.finish());
  if (all_.empty()) data_error("{}: not one row can be used: see the bad rows above", scan.reader().path().string());
  std::sort(all_.begin(), all_.end(), [](const Admission& a, const Admission& b) { return a.id < b.id; });
  block_ = static_cast<std::size_t>(options.shard_samples);
  own_.assign(all_.size(), -1);
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if ((i / block_) % static_cast<std::size_t>(team.count) == static_cast<std::size_t>(team.index)) {
      own_[i] = static_cast<std::int64_t>(owned_++);
    }
  }
  if (!options.like) split(options, context, counts);
}

void Admissions::split(const PackOptions& options, ScanContext& context, std::vector<TableCount>& counts) {
  if (options.split_file.empty()) {
    for (Admission& a : all_) {
      a.split = split_of(a.patient, options.split_seed, options.train_fraction, options.validation_fraction);
    }
    return;
  }
  const auto splits = read_splits(options, context, counts);
  std::size_t missing = 0;
  for (Admission& a : all_) {
    const auto found = splits.find(a.patient);
    if (found == splits.end()) {
      ++missing;
    } else {
      a.split = found->second;
    }
  }
  if (missing > 0) {
    data_error("{}: {} of {} admissions belong to patients without a split there: add these, or leave split.file empty",
               options.split_file, missing, all_.size());
  }
}

std::int64_t Admissions::find(std::int64_t id) const {
  if (id == last_id_ && last_found_ >= 0) return last_found_;
  const auto at = std::lower_bound(all_.begin(), all_.end(), id,
                                   [](const Admission& a, std::int64_t wanted) { return a.id < wanted; });
  if (at == all_.end() || at->id != id) return -1;
  last_id_ = id;
  return last_found_ = at - all_.begin();
}

std::int64_t Admissions::locate(TableScan& scan, std::string_view id) const {
  if (trim(id).empty()) {
    scan.without_admission();
    return -1;
  }
  const auto parsed = parse_integer(id);
  if (!parsed) {
    scan.bad("unparsable admission id");
    return -1;
  }
  const std::int64_t found = find(*parsed);
  if (found < 0) scan.bad("unknown admission");
  return found;
}

}  // namespace medfuse::data
