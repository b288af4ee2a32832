#include "data/cohort/options.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "data/cohort/sections.h"
#include "data/tables/fields.h"

namespace medfuse::data {

const std::vector<TableOption>& table_options() {
  using N = TableNames;
  static const std::vector<TableOption> options = {
      {"tables.admissions", &N::admissions, "table of admissions"},
      {"tables.admissions.id", &N::admissions_id, "column: admission, a whole number"},
      {"tables.admissions.patient", &N::admissions_patient, "column: patient, a whole number"},
      {"tables.admissions.time", &N::admissions_time, "column: time of admission; for labs.window_hours only"},
      {"tables.admissions.text", &N::admissions_text, "column: reason for admission, put first in the text"},
      {"tables.notes", &N::notes, "table of notes; empty: none"},
      {"tables.notes.id", &N::notes_id, "column: admission"},
      {"tables.notes.text", &N::notes_text, "column: the note"},
      {"tables.notes.category", &N::notes_category, "column: category, see text.note_categories"},
      {"tables.notes.error", &N::notes_error, "column: 1 withdraws the note; may be absent"},
      {"tables.labs", &N::labs, "table of lab results; empty: none"},
      {"tables.labs.id", &N::labs_id, "column: admission"},
      {"tables.labs.item", &N::labs_item, "column: lab item, a whole number"},
      {"tables.labs.number", &N::labs_number, "column: numeric result; may be absent if tables.labs.value is there"},
      {"tables.labs.value", &N::labs_value, "column: result as written, used where there is no numeric one"},
      {"tables.labs.unit", &N::labs_unit, "column: unit; may be absent"},
      {"tables.labs.flag", &N::labs_flag, "column: flag, see labs.abnormal_flags"},
      {"tables.labs.time", &N::labs_time, "column: time; for labs.value first and last and labs.window_hours"},
      {"tables.diagnoses", &N::diagnoses, "table of diagnoses; empty: pack without labels"},
      {"tables.diagnoses.id", &N::diagnoses_id, "column: admission"},
      {"tables.diagnoses.code", &N::diagnoses_code, "column: ICD-9 code, with or without dot"},
      {"tables.items", &N::items, "table of the lab items' names; empty: none"},
      {"tables.items.id", &N::items_id, "column: lab item"},
      {"tables.items.name", &N::items_name, "column: name"},
      {"tables.splits.patient", &N::splits_patient, "column of split.file: patient"},
      {"tables.splits.split", &N::splits_split, "column of split.file: train, validation or test"},
  };
  return options;
}

PackOptions options_like(const PackedInfo& info) {
  PackOptions options;
  for (const TableOption& row : table_options()) {
    const auto found = info.tables.find(row.option);
    if (found != info.tables.end()) options.tables.*row.member = found->second;
  }
  options.sections = info.sections;
  options.categories = info.categories;
  options.abnormal_labs = info.abnormal_labs;
  options.abnormal_flags = info.abnormal_flags;
  options.max_tokens = info.max_tokens;
  options.lab_value = info.lab_value;
  options.window_hours = info.window_hours;
  options.like = info;
  return options;
}

void check_options(const PackOptions& options) {
  static const std::set<std::string> values = {"first", "last", "mean", "min", "max"};
  if (options.input.empty()) usage_error("input is missing: the folder of the tables");
  if (options.output.empty()) usage_error("output is missing: the folder to write the packed data to");
  if (!values.contains(options.lab_value)) {
    usage_error("labs.value = {}: must be first, last, mean, min or max", options.lab_value);
  }
  if (!std::isfinite(options.window_hours) || options.window_hours < 0) {
    usage_error("labs.window_hours = {}: must be 0 (the whole stay) or more", options.window_hours);
  }
  if (options.max_tokens < 1 || options.max_tokens > (1 << 20)) {
    usage_error("text.max_tokens = {}: must be from 1 to {}", options.max_tokens, 1 << 20);
  }
  if (options.shard_samples < 1) usage_error("shard_samples = {}: must be at least 1", options.shard_samples);
  if (options.lab_count < 1) usage_error("labs.count = {}: must be at least 1", options.lab_count);
  if (!(options.train_fraction > 0) || !(options.validation_fraction >= 0) ||
      options.train_fraction + options.validation_fraction > 1 + 1e-9) {
    usage_error("split.train = {}, split.validation = {}: must be fractions, the first above 0, of together 1 at most",
                options.train_fraction, options.validation_fraction);
  }
  std::set<std::string> seen;
  for (const std::string& section : options.sections) {
    if (!seen.insert(canonical_section(section)).second) {
      usage_error("text.sections names '{}' twice", canonical_section(section));
    }
  }
  seen.clear();
  for (const std::string& item : options.lab_items) {
    if (!parse_integer(item)) usage_error("labs.items: '{}' is not an item id", item);
    if (!seen.insert(std::string(trim(item))).second) usage_error("labs.items names {} twice", item);
  }
  if (options.bad_rows != "skip" && options.bad_rows != "stop") {
    usage_error("bad_rows = {}: must be skip or stop", options.bad_rows);
  }
  if (options.tables.admissions.empty()) usage_error("tables.admissions is empty: there must be a table of admissions");
  if (options.tables.notes.empty() && options.tables.labs.empty()) {
    usage_error("tables.notes and tables.labs are both empty: there would be nothing to pack");
  }
  if (!options.tables.notes.empty() && options.sections.empty()) {
    usage_error("text.sections is empty: name sections, or set tables.notes to nothing");
  }
  if (!options.like && !options.tables.diagnoses.empty() && options.diseases.empty()) {
    usage_error("diseases is missing: a CSV of disease,icd9_prefix (or set tables.diagnoses to nothing: no labels)");
  }
}

}  // namespace medfuse::data
