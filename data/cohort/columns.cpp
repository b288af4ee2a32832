#include "data/cohort/columns.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "data/tables/fields.h"

namespace medfuse::data {
namespace {

/// Numbered items in the order of the columns.
std::vector<std::size_t> choose(const PackOptions& options, const LabTable& labs, const std::vector<double>& measured) {
  std::vector<std::size_t> chosen;
  if (!options.lab_items.empty()) {
    for (const std::string& text : options.lab_items) {
      const auto number = labs.number_of(*parse_integer(text));
      if (!number || measured[*number] == 0) {
        data_error("labs.items: no training admission has a value of item {}: take it out", text);
      }
      chosen.push_back(*number);
    }
    return chosen;
  }
  for (std::size_t i = 0; i < measured.size(); ++i) {
    if (measured[i] > 0) chosen.push_back(i);
  }
  const auto& ids = labs.items();
  std::sort(chosen.begin(), chosen.end(), [&](std::size_t a, std::size_t b) {
    return measured[a] != measured[b] ? measured[a] > measured[b] : ids[a] < ids[b];
  });
  if (chosen.empty()) {
    data_error("{}: no training admission has a numeric lab result: check tables.labs.*, labs.window_hours and the "
               "split", options.tables.labs);
  }
  chosen.resize(std::min(chosen.size(), static_cast<std::size_t>(options.lab_count)));
  return chosen;
}

}  // namespace

std::vector<LabColumn> fit_columns(const PackOptions& options, const Admissions& admissions, const LabTable& labs,
                                   const std::unordered_map<std::int64_t, std::string>& names, const Team& team) {
  if (options.tables.labs.empty()) return {};
  std::vector<std::size_t> training;  // own admissions
  for (std::size_t i = 0; i < admissions.size(); ++i) {
    if (admissions.own(i) >= 0 && admissions[i].split == Split::train) {
      training.push_back(static_cast<std::size_t>(admissions.own(i)));
    }
  }
  std::vector<double> measured(labs.items().size(), 0);
  for (const std::size_t own : training) {
    for (const std::uint32_t item : labs.measured(own)) measured[item] += 1;
  }
  team.sum(measured);
  const std::vector<std::size_t> chosen = choose(options, labs, measured);
  std::vector<double> low(chosen.size(), std::numeric_limits<double>::infinity());
  std::vector<double> high(chosen.size(), -std::numeric_limits<double>::infinity());
  for (const std::size_t own : training) {
    for (std::size_t c = 0; c < chosen.size(); ++c) {
      if (const auto value = labs.value(own, chosen[c])) {
        low[c] = std::min(low[c], *value);
        high[c] = std::max(high[c], *value);
      }
    }
  }
  team.min(low);
  team.max(high);
  std::vector<LabColumn> columns;
  for (std::size_t c = 0; c < chosen.size(); ++c) {
    const std::int64_t item = labs.items()[chosen[c]];
    // For a huge constant the next number is further than 1 away.
    const double above = std::max(low[c] + 1, std::nextafter(low[c], std::numeric_limits<double>::max()));
    const double top = high[c] > low[c] ? high[c] : above;
    columns.push_back({item, item_name(item, names), labs.unit(chosen[c]), low[c], top});
  }
  return columns;
}

float scaled(const LabColumn& column, double value) {
  return static_cast<float>(std::clamp((value - column.low) / (column.high - column.low), -1.0, 2.0));
}

std::string item_name(std::int64_t item, const std::unordered_map<std::int64_t, std::string>& names) {
  const auto found = names.find(item);
  return found != names.end() && !found->second.empty() ? found->second : fmt::format("item {}", item);
}

}  // namespace medfuse::data
