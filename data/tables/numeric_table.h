// A plain numeric CSV with empty cells, of which only the empty cells are ever rewritten.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace medfuse::data {

/// Header row, then rows of numbers or nothing, separated by commas. Quoted cells, CRLF, blank lines, blanks around
/// numbers, a byte-order mark and a last line without an end are all kept as they are.
class NumericTable {
 public:
  /// Throws Error(data) naming file, row (1 is the first below the header) and column: a cell that is no finite number,
  /// another number of cells than the header has, no data row, no header, a single column, a repeated or empty column
  /// name, a column without any number or with numbers too far apart for double, a quotation that is not closed, a
  /// compressed file.
  static NumericTable read(const std::filesystem::path& path);

  const std::vector<std::string>& names() const { return names_; }
  std::size_t rows() const { return names_.empty() ? 0 : values_.size() / names_.size(); }
  std::size_t columns() const { return names_.size(); }
  /// Row by row; NaN where the cell is empty.
  const std::vector<double>& values() const { return values_; }
  std::size_t empty_cells() const { return empty_.size(); }

  /// The file with every empty cell filled from `full` (rows x columns, row by row) and every other byte as it was. A
  /// number is written with as many decimals as the column's longest observed one plus `extra_decimals` (0: an integer
  /// column gets integers, rounded), or with 7 significant digits where the column has exponents. Throws Error(numeric)
  /// naming row and column for a number that is not finite.
  std::string completed(const std::vector<double>& full, int extra_decimals = 3) const;

 private:
  struct EmptyCell {
    std::size_t begin, end;  // what to replace: blanks or nothing
    std::size_t index;       // row * columns + column
  };
  struct Style {
    int decimals = 0;
    bool exponent = false;
  };

  std::string path_;
  std::string content_;
  std::vector<std::string> names_;
  std::vector<double> values_;
  std::vector<EmptyCell> empty_;
  std::vector<Style> styles_;  // per column
};

}  // namespace medfuse::data
