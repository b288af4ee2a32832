#include "launch/pack_options.h"

namespace medfuse::launch {

void add_pack_options(OptionTable& table, PackSettings& settings) {
  data::PackOptions& o = settings.pack;
  table.group("What a sample holds");
  table.add("diseases", &o.diseases, "CSV of disease,icd9_prefix rows: the labels");
  table.add("text.model", &settings.model, "Hugging Face folder whose tokenizer.json is used");
  table.add("text.tokenizer", &settings.tokenizer, "another tokenizer.json, or its folder");
  table.add("text.sections", &o.sections, "sections of the notes that are kept; others leak the labels");
  table.add("text.note_categories", &o.categories, "categories of notes that are read; empty: all");
  table.add("text.abnormal_labs", &o.abnormal_labs, "write labs flagged abnormal as text too");
  table.add("text.max_tokens", &o.max_tokens, "longer texts are cut there");
  table.add("labs.value", &o.lab_value, "of several measurements take the first, last, mean, min or max");
  table.add("labs.window_hours", &o.window_hours, "keep measurements until that many hours after admission; 0: all");
  table.add("labs.count", &o.lab_count, "lab columns: those measured in most training admissions");
  table.add("labs.items", &o.lab_items, "item ids to use instead, in this order");
  table.add("labs.abnormal_flags", &o.abnormal_flags, "what the flag column says of an abnormal value");

  table.group("Splits and files");
  table.add("split.train", &o.train_fraction, "share of the patients, by a hash of the patient id");
  table.add("split.validation", &o.validation_fraction, "share of the patients; the rest is test");
  table.add("split.seed", &o.split_seed, "another division by the same shares");
  table.add("split.file", &o.split_file, "CSV of patient and split, instead of the shares");
  table.add("shard_samples", &o.shard_samples, "admissions in a file");
  table.add("bad_rows", &o.bad_rows, "skip: report bad rows and go on; stop: the first one is an error");

  table.group("Tables and columns (case does not matter; .csv or .csv.gz)");
  for (const auto& row : data::table_options()) table.add(row.option, &(o.tables.*row.member), row.help);
}

}  // namespace medfuse::launch
