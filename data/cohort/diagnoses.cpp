#include "data/cohort/diagnoses.h"

#include <algorithm>

#include "base/error.h"
#include "data/cohort/text.h"
#include "data/tables/fields.h"

namespace medfuse::data {

std::string normalise_code(std::string_view code) {
  std::string out;
  for (const char c : trim(code)) {
    if (c == '.' || c == '"' || c == '\'' || c == ' ') continue;
    out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return out;
}

Diseases read_diseases(const PackOptions& options, ScanContext& context, std::vector<TableCount>& counts) {
  TableScan scan(configured_file(options.diseases, options, "diseases"),
                 {{"disease", ""}, {"icd9_prefix", ""}}, context);
  Diseases diseases;
  while (scan.next()) {
    const std::string name = one_line(scan[0]);
    const std::string code = normalise_code(scan[1]);
    if (name.empty() || code.empty()) {
      scan.bad("a disease or prefix is empty");
      continue;
    }
    const auto found = std::find(diseases.names.begin(), diseases.names.end(), name);
    const auto n = static_cast<std::size_t>(found - diseases.names.begin());
    if (found == diseases.names.end()) {
      diseases.names.push_back(name);
      diseases.codes.emplace_back();
    }
    diseases.codes[n].push_back(code);
  }
  counts.push_back(scan.finish());
  if (diseases.names.empty()) {
    data_error("{}: names no disease: write rows of disease,icd9_prefix", scan.reader().path().string());
  }
  return diseases;
}

Labels::Labels(const PackOptions& options, const Diseases& diseases, const Admissions& admissions, ScanContext& context,
               std::vector<TableCount>& counts)
    : labels_(admissions.owned(), std::vector<std::uint8_t>(diseases.names.size(), 0)),
      diagnosed_(admissions.owned(), false) {
  const TableNames& t = options.tables;
  TableScan scan(require_table(options.input, t.diagnoses, "tables.diagnoses"),
                 {{t.diagnoses_id, "tables.diagnoses.id"}, {t.diagnoses_code, "tables.diagnoses.code"}}, context);
  if (!scan.has(0) || !scan.has(1)) {
    usage_error("tables.diagnoses.id or tables.diagnoses.code is empty: diagnoses need an admission and a code");
  }
  while (scan.next()) {
    const std::int64_t position = admissions.locate(scan, scan[0]);
    if (position < 0) continue;
    const std::string code = normalise_code(scan[1]);
    if (code.empty()) scan.without_value();
    const std::int64_t own = admissions.own(static_cast<std::size_t>(position));
    if (own < 0 || code.empty()) continue;
    diagnosed_[static_cast<std::size_t>(own)] = true;
    for (std::size_t d = 0; d < diseases.names.size(); ++d) {
      const auto& prefixes = diseases.codes[d];
      if (std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) { return code.starts_with(prefix); })) {
        labels_[static_cast<std::size_t>(own)][d] = 1;
      }
    }
  }
  counts.push_back(scan.finish());
}

}  // namespace medfuse::data
