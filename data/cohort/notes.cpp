#include "data/cohort/notes.h"

#include <algorithm>

#include "base/error.h"
#include "data/tables/fields.h"

namespace medfuse::data {

NoteTable::NoteTable(const PackOptions& options, const Admissions& admissions, ScanContext& context,
                     std::vector<TableCount>& counts)
    : admissions_(admissions.owned()) {
  const TableNames& t = options.tables;
  if (t.notes.empty()) return;
  const SectionFinder finder(options.sections);
  names_ = finder.names();
  for (OfAdmission& notes : admissions_) {
    notes.texts.resize(names_.size());
    notes.ranks.resize(names_.size());
  }
  std::vector<std::string> categories;
  for (const std::string& category : options.categories) categories.push_back(lower(trim(category)));
  TableScan scan(require_table(options.input, t.notes, "tables.notes"),
                 {{t.notes_id, "tables.notes.id"},
                  {t.notes_text, "tables.notes.text"},
                  {categories.empty() ? "" : t.notes_category, "tables.notes.category"},
                  {t.notes_error, "tables.notes.error", false}},
                 context);
  if (!scan.has(0) || !scan.has(1)) {
    usage_error("tables.notes.id or tables.notes.text is empty: notes need an admission and a text");
  }
  if (!categories.empty() && !scan.has(2)) {
    usage_error("tables.notes.category is empty, but text.note_categories needs it: set that to nothing too");
  }
  while (scan.next()) {
    const std::int64_t position = admissions.locate(scan, scan[0]);
    if (position < 0) continue;
    if (trim(scan[3]) == "1") {
      scan.without_value();
      continue;
    }
    const auto category = std::find(categories.begin(), categories.end(), lower(trim(scan[2])));
    if (!categories.empty() && category == categories.end()) continue;
    const std::int64_t own = admissions.own(static_cast<std::size_t>(position));
    if (own < 0) continue;
    const auto rank = static_cast<std::size_t>(category - categories.begin());
    OfAdmission& notes = admissions_[static_cast<std::size_t>(own)];
    std::vector<std::string> found = finder.find(scan[1]);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i].empty() || (!notes.texts[i].empty() && notes.ranks[i] <= rank)) continue;
      notes.texts[i] = std::move(found[i]);
      notes.ranks[i] = rank;
    }
  }
  counts.push_back(scan.finish());
}

bool NoteTable::any(std::size_t own) const {
  return std::any_of(texts(own).begin(), texts(own).end(), [](const std::string& text) { return !text.empty(); });
}

}  // namespace medfuse::data
