#include "data/cohort/cohort.h"

namespace medfuse::data {
namespace {

/// New patients need no labels: there it is enough that the table is absent.
bool with_labels(const PackOptions& options) {
  if (options.tables.diagnoses.empty()) return false;
  if (!options.like) return true;
  return !options.like->disease_codes.empty() && !find_table(options.input, options.tables.diagnoses).empty();
}

Diseases diseases_of(const PackOptions& options, ScanContext& context, std::vector<TableCount>& counts) {
  if (options.like) return {options.like->diseases, options.like->disease_codes};
  return with_labels(options) ? read_diseases(options, context, counts) : Diseases{};
}

}  // namespace

Cohort::Cohort(const PackOptions& options, const Team& team, ScanContext& context)
    : admissions(options, team, context, counts),
      diseases(diseases_of(options, context, counts)),
      names(read_item_names(options, context, counts)),
      labs(options, admissions, context, counts),
      notes(options, admissions, context, counts) {
  if (with_labels(options)) labels = std::make_unique<Labels>(options, diseases, admissions, context, counts);
}

}  // namespace medfuse::data
