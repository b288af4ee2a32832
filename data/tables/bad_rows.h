// Rows that cannot be used: counted and reported by file and row number, never by their content.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "data/tables/csv_reader.h"

namespace medfuse::data {

class BadRows {
 public:
  using Log = std::function<void(const std::string& line)>;

  /// `policy` is skip or stop. Each kind of bad row of a table is logged `shown` times, then only counted.
  BadRows(const std::string& policy, Log log, std::uint64_t shown = 3);

  /// Records the reader's present row. With stop: throws Error(data) naming file, row and reason.
  void add(const CsvReader& reader, const std::string& reason);

  /// Checks what holds for any table: as many cells as the header has, and valid UTF-8 in the wanted columns. Records
  /// the row and returns false if it is bad.
  bool check(const CsvReader& reader, std::size_t columns);

  /// Logs how many there were of each kind in a table, and forgets it. Returns their sum.
  std::uint64_t finish(const CsvReader& reader);

 private:
  bool stop_;
  Log log_;
  std::uint64_t shown_;
  std::map<std::string, std::uint64_t> counts_;  // by reason
};

}  // namespace medfuse::data
