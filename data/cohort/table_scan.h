// Goes through the rows of one table that can be used, counting the others.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/cohort/summary.h"
#include "data/tables/bad_rows.h"
#include "data/tables/csv_reader.h"

namespace medfuse::data {

/// What all scans of one packing share.
struct ScanContext {
  BadRows& bad;
  std::function<void(const std::string& table, std::uint64_t rows)> progress;
};

class TableScan {
 public:
  TableScan(const std::filesystem::path& path, const std::vector<Column>& columns, ScanContext& context)
      : reader_(path, columns), columns_(columns.size()), context_(context) {
    count_.file = path.filename().string();
  }

  /// Moves to the next row that is complete and valid UTF-8.
  bool next() {
    while (reader_.next()) {
      if (++count_.rows % 500'000 == 0) context_.progress(count_.file, count_.rows);
      if (context_.bad.check(reader_, columns_)) return true;
    }
    return false;
  }

  std::string_view operator[](std::size_t i) const { return reader_[i]; }
  bool has(std::size_t i) const { return reader_.has(i); }
  void bad(const std::string& reason) { context_.bad.add(reader_, reason); }
  void without_admission() { ++count_.without_admission; }
  void without_value() { ++count_.without_value; }
  const CsvReader& reader() const { return reader_; }

  /// Reports the bad rows; call it once at the end.
  TableCount finish() {
    context_.progress(count_.file, count_.rows);
    count_.bad = context_.bad.finish(reader_);
    return count_;
  }

 private:
  CsvReader reader_;
  std::size_t columns_;
  ScanContext& context_;
  TableCount count_;
};

}  // namespace medfuse::data
