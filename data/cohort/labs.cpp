#include "data/cohort/labs.h"

#include <algorithm>

#include "base/error.h"
#include "data/cohort/text.h"
#include "data/tables/fields.h"

namespace medfuse::data {
namespace {

constexpr std::size_t longest_words = 40;  // bytes of a result without a number

enum Wanted : std::size_t { id, item, number_column, value_column, unit_column, flag, time_column };

}  // namespace

LabValue parse_lab_value(const std::string& name) {
  if (name == "first") return LabValue::first;
  if (name == "last") return LabValue::last;
  if (name == "mean") return LabValue::mean;
  if (name == "min") return LabValue::min;
  if (name == "max") return LabValue::max;
  usage_error("labs.value = {}: must be first, last, mean, min or max", name);
}

void LabCell::add(LabValue rule, double seen, std::int64_t at) {
  const bool replace = count == 0 || (rule == LabValue::first && at < time) || (rule == LabValue::last && at >= time) ||
                       (rule == LabValue::min && seen < value) || (rule == LabValue::max && seen > value);
  if (replace) {
    value = seen;
    time = at;
  } else if (rule == LabValue::mean) {
    value += seen;
  }
  ++count;
}

LabTable::LabTable(const PackOptions& options, const Admissions& admissions, ScanContext& context,
                   std::vector<TableCount>& counts)
    : rule_(parse_lab_value(options.lab_value)), admissions_(admissions.owned()) {
  const TableNames& t = options.tables;
  if (t.labs.empty()) return;
  const bool windowed = options.window_hours > 0;
  const bool timed = windowed || rule_ == LabValue::first || rule_ == LabValue::last;
  const auto window = static_cast<std::int64_t>(options.window_hours * 3600);
  TableScan scan(require_table(options.input, t.labs, "tables.labs"),
                 {{t.labs_id, "tables.labs.id"},
                  {t.labs_item, "tables.labs.item"},
                  {t.labs_number, "tables.labs.number", false},
                  {t.labs_value, "tables.labs.value", false},
                  {t.labs_unit, "tables.labs.unit", false},
                  {options.abnormal_labs ? t.labs_flag : "", "tables.labs.flag"},
                  {timed ? t.labs_time : "", "tables.labs.time"}},
                 context);
  if (!scan.has(id) || !scan.has(item)) {
    usage_error("tables.labs.id or tables.labs.item is empty: lab results need an admission and an item");
  }
  if (timed && !scan.has(time_column)) {
    usage_error("tables.labs.time is empty, but labs.value = {} or labs.window_hours needs it", options.lab_value);
  }
  if (!scan.has(number_column) && !scan.has(value_column)) {
    data_error("{}: columns {} and {} are both missing: set tables.labs.number or tables.labs.value to the column of "
               "the results", scan.reader().path().string(), t.labs_number, t.labs_value);
  }
  std::vector<std::string> flags;
  for (const std::string& text : options.abnormal_flags) flags.push_back(lower(trim(text)));

  while (scan.next()) {
    const std::int64_t position = admissions.locate(scan, scan[id]);
    if (position < 0) continue;
    const auto item_id = parse_integer(scan[item]);
    if (!item_id) {
      scan.bad("unparsable lab item id");
      continue;
    }
    std::int64_t at = 0;
    if (timed) {
      const auto parsed = parse_time(scan[time_column]);
      if (!parsed) {
        scan.bad("unparsable time of a lab result");
        continue;
      }
      at = *parsed;
    }
    std::optional<double> seen;
    if (const std::string_view cell = trim(scan[number_column]); !cell.empty()) {
      seen = parse_number(cell);
      if (!seen) {
        scan.bad("unparsable number of a lab result");
        continue;
      }
    } else {
      seen = parse_number(scan[value_column]);
    }
    if (!seen) scan.without_value();
    const std::uint32_t n = number(*item_id);
    if (units_[n].empty()) units_[n] = one_line(scan[unit_column]);
    const auto where = static_cast<std::size_t>(position);
    const std::int64_t own = admissions.own(where);
    if (own < 0 || (windowed && at > admissions[where].time + window)) continue;
    OfAdmission& labs = admissions_[static_cast<std::size_t>(own)];
    if (seen) {
      const auto found = std::find(labs.items.begin(), labs.items.end(), n);
      const auto slot = static_cast<std::size_t>(found - labs.items.begin());
      if (found == labs.items.end()) {
        labs.items.push_back(n);
        labs.cells.emplace_back();
      }
      labs.cells[slot].add(rule_, *seen, at);
    }
    const std::string_view flagged = trim(scan[flag]);
    if (!flagged.empty() && std::find(flags.begin(), flags.end(), lower(flagged)) != flags.end()) {
      add_flagged(labs, n, seen, scan[value_column], at);
    }
  }
  counts.push_back(scan.finish());
  for (OfAdmission& labs : admissions_) {
    std::sort(labs.flagged.begin(), labs.flagged.end(),
              [&](const Flagged& a, const Flagged& b) { return items_[a.item] < items_[b.item]; });
  }
}

std::uint32_t LabTable::number(std::int64_t item_id) {
  if (!items_.empty() && item_id == last_item_) return last_number_;
  const auto [at, added] = numbers_.emplace(item_id, static_cast<std::uint32_t>(items_.size()));
  if (added) {
    items_.push_back(item_id);
    units_.emplace_back();
  }
  last_item_ = item_id;
  return last_number_ = at->second;
}

void LabTable::add_flagged(OfAdmission& labs, std::uint32_t n, std::optional<double> seen, std::string_view words,
                           std::int64_t time) {
  if (!seen && trim(words).empty()) return;
  auto found = std::find_if(labs.flagged.begin(), labs.flagged.end(), [&](const Flagged& f) { return f.item == n; });
  if (found == labs.flagged.end()) {
    labs.flagged.push_back({n, {}, {}, 0});
    found = labs.flagged.end() - 1;
  }
  if (seen) {
    found->number.add(rule_, *seen, time);
    std::string().swap(found->words);
    return;
  }
  // Words have no mean, least or greatest: the last for "last", else the first.
  const bool replace = found->words.empty() || (rule_ == LabValue::last && time >= found->words_time) ||
                       (rule_ == LabValue::first && time < found->words_time);
  if (found->number.count > 0 || !replace) return;
  found->words = one_line(words);
  if (found->words.size() > longest_words) {
    std::size_t end = longest_words;
    while (end > 0 && (static_cast<unsigned char>(found->words[end]) & 0xc0) == 0x80) --end;
    found->words.resize(end);
  }
  found->words_time = time;
}

std::optional<std::size_t> LabTable::number_of(std::int64_t item_id) const {
  const auto found = numbers_.find(item_id);
  if (found == numbers_.end()) return std::nullopt;
  return found->second;
}

std::optional<double> LabTable::value(std::size_t own, std::size_t n) const {
  const OfAdmission& labs = admissions_[own];
  const auto found = std::find(labs.items.begin(), labs.items.end(), static_cast<std::uint32_t>(n));
  if (found == labs.items.end()) return std::nullopt;
  return labs.cells[static_cast<std::size_t>(found - labs.items.begin())].result(rule_);
}

std::vector<LabTable::Abnormal> LabTable::abnormal(std::size_t own) const {
  std::vector<Abnormal> out;
  for (const Flagged& f : admissions_[own].flagged) {
    out.push_back({f.item, f.number.count > 0 ? fmt::format("{:.6g}", f.number.result(rule_)) : f.words});
  }
  return out;
}

std::size_t LabTable::cells() const {
  std::size_t sum = 0;
  for (const OfAdmission& labs : admissions_) sum += labs.cells.size() + labs.flagged.size();
  return sum;
}

std::unordered_map<std::int64_t, std::string> read_item_names(const PackOptions& options, ScanContext& context,
                                                              std::vector<TableCount>& counts) {
  std::unordered_map<std::int64_t, std::string> names;
  const TableNames& t = options.tables;
  if (t.items.empty() || t.labs.empty()) return names;
  TableScan scan(require_table(options.input, t.items, "tables.items"),
                 {{t.items_id, "tables.items.id"}, {t.items_name, "tables.items.name"}}, context);
  while (scan.next()) {
    const auto item_id = parse_integer(scan[0]);
    if (!item_id) {
      scan.bad("unparsable lab item id");
    } else {
      names.emplace(*item_id, one_line(scan[1]));
    }
  }
  counts.push_back(scan.finish());
  return names;
}

}  // namespace medfuse::data
