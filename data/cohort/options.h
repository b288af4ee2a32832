// What packing may be told: which tables and columns to read, what to keep of them and how to split. The defaults are
// MIMIC-III 1.4. Option names, as in configuration files, are given in quotes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/packed/packed.h"

namespace medfuse::data {

/// Names of tables and columns, compared without regard to case. A table NAME is read from NAME.csv or NAME.csv.gz; an
/// empty table name says that there is no such table, an empty column name that there is no such column.
struct TableNames {
  std::string admissions = "ADMISSIONS";        ///< "tables.admissions"
  std::string admissions_id = "HADM_ID";        ///< "tables.admissions.id"
  std::string admissions_patient = "SUBJECT_ID";  ///< "tables.admissions.patient"
  std::string admissions_time = "ADMITTIME";    ///< "tables.admissions.time"; needed with labs.window_hours only
  std::string admissions_text;                  ///< "tables.admissions.text": MIMIC-III: DIAGNOSIS
  std::string notes = "NOTEEVENTS";             ///< "tables.notes"
  std::string notes_id = "HADM_ID";             ///< "tables.notes.id"
  std::string notes_text = "TEXT";              ///< "tables.notes.text"
  std::string notes_category = "CATEGORY";      ///< "tables.notes.category"
  std::string notes_error = "ISERROR";          ///< "tables.notes.error": 1 withdraws the note; may be absent
  std::string labs = "LABEVENTS";               ///< "tables.labs"
  std::string labs_id = "HADM_ID";              ///< "tables.labs.id"
  std::string labs_item = "ITEMID";             ///< "tables.labs.item": a whole number
  std::string labs_number = "VALUENUM";         ///< "tables.labs.number"; may be absent if the next is there
  std::string labs_value = "VALUE";             ///< "tables.labs.value": number or words; used where no number is
  std::string labs_unit = "VALUEUOM";           ///< "tables.labs.unit"; may be absent
  std::string labs_flag = "FLAG";               ///< "tables.labs.flag"; needed with text.abnormal_labs only
  std::string labs_time = "CHARTTIME";          ///< "tables.labs.time"; needed for first, last and the window only
  std::string diagnoses = "DIAGNOSES_ICD";      ///< "tables.diagnoses"
  std::string diagnoses_id = "HADM_ID";         ///< "tables.diagnoses.id"
  std::string diagnoses_code = "ICD9_CODE";     ///< "tables.diagnoses.code"
  std::string items = "D_LABITEMS";             ///< "tables.items"
  std::string items_id = "ITEMID";              ///< "tables.items.id"
  std::string items_name = "LABEL";             ///< "tables.items.name"
  std::string splits_patient = "SUBJECT_ID";    ///< "tables.splits.patient": column of split.file
  std::string splits_split = "SPLIT";           ///< "tables.splits.split": column of split.file
};

/// The string members of `names` by their option name and what to say about them in --help, in the order above.
struct TableOption {
  const char* option;
  std::string TableNames::*member;
  const char* help;
};
const std::vector<TableOption>& table_options();

struct PackOptions {
  std::filesystem::path input;                  ///< "input": folder of the tables
  std::filesystem::path output;                 ///< "output": folder to write, made if absent
  TableNames tables;
  std::string diseases;                         ///< "diseases": CSV of disease,icd9_prefix; a relative path is taken
                                                ///< from the working folder, else from `input`
  std::string bad_rows = "skip";                ///< "bad_rows": skip or stop

  std::vector<std::string> sections = {"chief complaint", "history of present illness", "past medical history",
                                       "medications on admission"};  ///< "text.sections"
  std::vector<std::string> categories = {"Discharge summary"};  ///< "text.note_categories"; empty: every note. The
                                                                ///< earlier one wins if both have a section
  bool abnormal_labs = true;                    ///< "text.abnormal_labs": write flagged labs as text
  std::vector<std::string> abnormal_flags = {"abnormal"};  ///< "labs.abnormal_flags": what the flag column says then
  std::int64_t max_tokens = 512;                ///< "text.max_tokens"

  std::string lab_value = "last";               ///< "labs.value": first, last, mean, min or max
  double window_hours = 0;                      ///< "labs.window_hours" from admission; 0: the whole stay
  std::int64_t lab_count = 64;                  ///< "labs.count": columns, those measured in most training admissions
  std::vector<std::string> lab_items;           ///< "labs.items": item ids; if given, exactly these in this order

  double train_fraction = 0.7;                  ///< "split.train"
  double validation_fraction = 0.1;             ///< "split.validation"; the rest is test
  std::uint64_t split_seed = 0;                 ///< "split.seed"
  std::string split_file;                       ///< "split.file": CSV of patient and split; overrides the fractions

  std::int64_t shard_samples = 512;             ///< "shard_samples": admissions in a file

  /// Set by options_like(): take labs, scaling and labels' meaning from here, split everything as test.
  std::optional<PackedInfo> like;
};

/// Options that pack new patients as the data set of `info` was packed: same tables' names, sections, labs, scaling,
/// lengths. `input`, `output`, `bad_rows` and `shard_samples` stay at their defaults. If `info` names its diseases'
/// codes and the input holds a diagnoses table, labels are packed too; without, has_labels is false.
PackOptions options_like(const PackedInfo& info);

/// Throws Error(usage) naming the option that cannot be.
void check_options(const PackOptions& options);

}  // namespace medfuse::data
