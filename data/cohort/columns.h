// Which lab items become columns, and their scaling: both from the training split alone.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/cohort/admissions.h"
#include "data/cohort/labs.h"
#include "data/cohort/options.h"
#include "data/cohort/team.h"

namespace medfuse::data {

/// Chooses the columns over the whole team and fits low and high to the training split's values. A column that is
/// constant there gets high = low + 1. Throws Error(data) if nothing can be chosen.
std::vector<LabColumn> fit_columns(const PackOptions& options, const Admissions& admissions, const LabTable& labs,
                                   const std::unordered_map<std::int64_t, std::string>& names, const Team& team);

/// Scaled value, kept within [-1, 2]: training values lie in [0, 1]; elsewhere a slip of the keyboard (a sodium of
/// 14000) must not swamp the row.
float scaled(const LabColumn& column, double value);

/// Name of an item for people: from `names`, else "item 50813".
std::string item_name(std::int64_t item, const std::unordered_map<std::int64_t, std::string>& names);

}  // namespace medfuse::data
