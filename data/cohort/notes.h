// Streams the table of notes and keeps the chosen sections of this member's admissions.
#pragma once

#include <string>
#include <vector>

#include "data/cohort/admissions.h"
#include "data/cohort/options.h"
#include "data/cohort/sections.h"
#include "data/cohort/table_scan.h"

namespace medfuse::data {

/// If several notes of an admission have a section, the category named first in text.note_categories wins, then the
/// note that comes first in the file.
class NoteTable {
 public:
  NoteTable(const PackOptions& options, const Admissions& admissions, ScanContext& context,
            std::vector<TableCount>& counts);

  /// Canonical names of the sections, in the chosen order; none without a table of notes.
  const std::vector<std::string>& sections() const { return names_; }
  /// Texts beside `sections()`, empty where the notes have none. `own` is a position among this member's admissions.
  const std::vector<std::string>& texts(std::size_t own) const { return admissions_[own].texts; }
  bool any(std::size_t own) const;

 private:
  struct OfAdmission {
    std::vector<std::string> texts;
    std::vector<std::size_t> ranks;  // of the category that gave each text
  };
  std::vector<std::string> names_;
  std::vector<OfAdmission> admissions_;
};

}  // namespace medfuse::data
