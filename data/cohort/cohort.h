// Everything that one member of the team reads from the tables.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/cohort/admissions.h"
#include "data/cohort/diagnoses.h"
#include "data/cohort/labs.h"
#include "data/cohort/notes.h"
#include "data/cohort/options.h"
#include "data/cohort/table_scan.h"
#include "data/cohort/team.h"

namespace medfuse::data {

struct Cohort {
  Cohort(const PackOptions& options, const Team& team, ScanContext& context);

  std::vector<TableCount> counts;
  Admissions admissions;
  Diseases diseases;
  std::unordered_map<std::int64_t, std::string> names;  ///< of lab items
  LabTable labs;
  NoteTable notes;
  std::unique_ptr<Labels> labels;  ///< null: packed without
};

}  // namespace medfuse::data
