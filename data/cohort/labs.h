// Streams the table of lab results into one value per admission and item.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/cohort/admissions.h"
#include "data/cohort/options.h"
#include "data/cohort/table_scan.h"

namespace medfuse::data {

/// Which of an item's results during one admission counts. Rows of equal time are ordered as in the file.
enum class LabValue { first, last, mean, min, max };
LabValue parse_lab_value(const std::string& name);

/// What has been seen so far of one item of one admission.
struct LabCell {
  double value = 0;          ///< mean: the sum
  std::int64_t time = 0;     ///< first, last: of `value`
  std::uint32_t count = 0;

  void add(LabValue rule, double seen, std::int64_t at);
  double result(LabValue rule) const { return rule == LabValue::mean ? value / count : value; }
};

/// The lab results of this member's admissions. Memory is one cell per admission and item (and one more where results
/// are flagged), whatever the number of rows. Items are numbered in the order in which the table first shows them, the
/// same on every member.
class LabTable {
 public:
  /// Results later than labs.window_hours after the admission are ignored; earlier ones that carry the admission's id
  /// (the emergency department's) are kept.
  LabTable(const PackOptions& options, const Admissions& admissions, ScanContext& context,
           std::vector<TableCount>& counts);

  const std::vector<std::int64_t>& items() const { return items_; }
  const std::string& unit(std::size_t item) const { return units_[item]; }  ///< the first one in the table
  std::optional<std::size_t> number_of(std::int64_t item) const;

  /// Value of a numbered item, if it was measured. `own` is a position among this member's admissions.
  std::optional<double> value(std::size_t own, std::size_t item) const;
  /// Numbered items that were measured.
  const std::vector<std::uint32_t>& measured(std::size_t own) const { return admissions_[own].items; }

  struct Abnormal {
    std::size_t item;
    std::string result;  ///< number with up to 6 digits, or the words of the table
  };
  /// Items with flagged results, in the order of their ids: the value chosen among the flagged results.
  std::vector<Abnormal> abnormal(std::size_t own) const;

  /// Cells held, for tests of the memory's bound.
  std::size_t cells() const;

 private:
  struct Flagged {
    std::uint32_t item;
    LabCell number;
    std::string words;  // results without a number; used if there is none with one
    std::int64_t words_time;
  };
  struct OfAdmission {
    std::vector<std::uint32_t> items;
    std::vector<LabCell> cells;  // beside `items`
    std::vector<Flagged> flagged;
  };

  std::uint32_t number(std::int64_t item);
  void add_flagged(OfAdmission& labs, std::uint32_t item, std::optional<double> seen, std::string_view words,
                   std::int64_t time);

  LabValue rule_;
  std::vector<std::int64_t> items_;
  std::vector<std::string> units_;
  std::unordered_map<std::int64_t, std::uint32_t> numbers_;
  std::int64_t last_item_ = 0;
  std::uint32_t last_number_ = 0;
  std::vector<OfAdmission> admissions_;
};

/// Names of lab items: tables.items, one line each.
std::unordered_map<std::int64_t, std::string> read_item_names(const PackOptions& options, ScanContext& context,
                                                              std::vector<TableCount>& counts);

}  // namespace medfuse::data
