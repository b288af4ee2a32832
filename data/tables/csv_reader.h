// Streams the rows of a CSV file, plain or gzip, keeping only the columns that are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace medfuse::data {

/// A column that the reader shall find in the header.
struct Column {
  std::string name;      ///< compared without regard to case; empty: there is none
  std::string option;    ///< option that names the column, for the error's remedy; empty: its name is fixed
  bool required = true;
};

/// Quoted fields may hold delimiters, doubled quotes and newlines (RFC 4180); a byte-order mark, CRLF and blank lines
/// are tolerated. Memory: one block of the file and its rows.
class CsvReader {
 public:
  /// Reads the header. Throws Error(data) naming the file (and column) for a missing or empty file or a missing or
  /// repeated column.
  CsvReader(const std::filesystem::path& path, const std::vector<Column>& columns);
  ~CsvReader();
  CsvReader(CsvReader&&) noexcept;

  /// Moves to the next data row; false at the end. Throws Error(data) naming file and row for a truncated or corrupted
  /// gzip file, a quotation that is never closed, or a file without any data row.
  bool next();

  /// Cell of the present row in the i-th column asked for, unquoted; empty if the column or the cell is missing. Valid
  /// until next().
  std::string_view operator[](std::size_t i) const;
  /// Whether the i-th column is in the file.
  bool has(std::size_t i) const;

  /// Present row: 1 for the first below the header, and the line of the file where it begins.
  std::uint64_t row() const;
  std::uint64_t line() const;
  /// Whether the present row has as many cells as the header.
  bool complete() const;
  const std::filesystem::path& path() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Finds a table by name: NAME.csv or NAME.csv.gz (or NAME itself), in either case. Empty if it is not there.
/// Throws Error(data) if there are several, or no such folder.
std::filesystem::path find_table(const std::filesystem::path& folder, const std::string& name);

/// The same; throws Error(data) naming the folder, the table and `option` if the table is not there.
std::filesystem::path require_table(const std::filesystem::path& folder, const std::string& name,
                                    const std::string& option);

}  // namespace medfuse::data
