// Disease labels from diagnosis codes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/cohort/admissions.h"
#include "data/cohort/options.h"
#include "data/cohort/table_scan.h"

namespace medfuse::data {

/// A code in capitals without dots, quotes and blanks.
std::string normalise_code(std::string_view code);

struct Diseases {
  std::vector<std::string> names;               ///< in the order of the file
  std::vector<std::vector<std::string>> codes;  ///< [names] normalised prefixes
};

/// Reads a CSV of disease,icd9_prefix. Throws Error(data) if it names no disease.
Diseases read_diseases(const PackOptions& options, ScanContext& context, std::vector<TableCount>& counts);

/// An admission has a disease if one of its codes begins with one of the disease's prefixes.
class Labels {
 public:
  Labels(const PackOptions& options, const Diseases& diseases, const Admissions& admissions, ScanContext& context,
         std::vector<TableCount>& counts);

  /// [diseases] 0 or 1. `own` is a position among this member's admissions.
  const std::vector<std::uint8_t>& of(std::size_t own) const { return labels_[own]; }
  bool diagnosed(std::size_t own) const { return diagnosed_[own]; }

 private:
  std::vector<std::vector<std::uint8_t>> labels_;
  std::vector<bool> diagnosed_;
};

}  // namespace medfuse::data
