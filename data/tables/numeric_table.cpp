#include "data/tables/numeric_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/files.h"
#include "data/tables/fields.h"

namespace medfuse::data {

namespace {

// A cell's place in the file, without quotes, and what follows it.
struct Cell {
  std::size_t begin, end;
  bool last;  // of its line
};

// Walks over the cells. CSV libraries give a cell's content, not its place, which is what keeps the other bytes.
class Scanner {
 public:
  Scanner(std::string_view content, const std::string& path) : content_(content), path_(path) {
    if (content_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  // Moves past line ends; false at the end of the file.
  bool next_line() {
    while (at_ < content_.size() && (content_[at_] == '\n' || content_[at_] == '\r')) ++at_;
    return at_ < content_.size();
  }

  Cell next_cell(std::size_t row) {
    std::size_t begin = at_, end = at_;
    std::size_t first = at_;
    while (first < content_.size() && (content_[first] == ' ' || content_[first] == '\t')) ++first;
    if (first < content_.size() && content_[first] == '"') {
      begin = first + 1;
      end = begin;
      for (;; ++end) {
        end = content_.find('"', end);
        if (end == std::string_view::npos) {
          data_error("{}: row {}: a quotation is never closed; close it or remove the quote", path_, row);
        }
        if (end + 1 < content_.size() && content_[end + 1] == '"') {
          ++end;
        } else {
          break;
        }
      }
      at_ = std::min(content_.find_first_of(",\r\n", end), content_.size());
      if (!trim(content_.substr(end + 1, at_ - end - 1)).empty()) {
        data_error("{}: row {}: text after a closing quote; quote the whole cell or nothing of it", path_, row);
      }
    } else {
      at_ = std::min(content_.find_first_of(",\r\n", at_), content_.size());
      end = at_;
    }
    const bool last = at_ == content_.size() || content_[at_] != ',';
    if (!last) ++at_;
    return {begin, end, last};
  }

 private:
  std::string_view content_;
  const std::string& path_;
  std::size_t at_ = 0;
};

std::string undouble(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') ++i;
  }
  return out;
}

std::optional<double> number_of(std::string_view text) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  return parse_number(text);
}

// What a message may show of a cell: short and printable.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 20)) out += (c >= ' ' && c <= '~') ? c : '?';
  return text.size() > 20 ? out + "..." : out;
}

std::vector<std::string> read_header(Scanner& scanner, std::string_view content, const std::string& path) {
  if (!scanner.next_line()) data_error("{}: empty file; a header row and rows of numbers are needed", path);
  std::vector<std::string> names;
  std::unordered_set<std::string> seen;
  bool numbers = true;
  for (bool last = false; !last;) {
    const Cell cell = scanner.next_cell(0);
    last = cell.last;
    const std::string name(trim(undouble(content.substr(cell.begin, cell.end - cell.begin))));
    if (name.empty()) {
      data_error("{}: header: column {} has no name; name it, or remove it if it only counts the rows", path,
                 names.size() + 1);
    }
    if (!seen.insert(name).second) {
      data_error("{}: header: column '{}' is there twice; rename one", path, shown(name));
    }
    numbers = numbers && number_of(name).has_value();
    names.push_back(name);
  }
  // Its empty cells would be blank lines, and nothing else tells about them.
  if (names.size() == 1) data_error("{}: a single column (are cells separated by commas?); there is nothing to fill it from", path);
  if (numbers) data_error("{}: the first row holds numbers only; put a header row of column names above", path);
  return names;
}

}  // namespace

NumericTable NumericTable::read(const std::filesystem::path& path) {
  NumericTable table;
  table.path_ = path.string();
  table.content_ = read_file(path);
  const std::string_view content = table.content_;
  if (content.starts_with("\x1f\x8b")) data_error("{}: compressed; decompress it (gunzip) first", table.path_);
  Scanner scanner(content, table.path_);
  table.names_ = read_header(scanner, content, table.path_);
  const std::size_t columns = table.names_.size();
  table.styles_.resize(columns);
  std::vector<double> lowest(columns, std::numeric_limits<double>::infinity());
  std::vector<double> highest(columns, -std::numeric_limits<double>::infinity());
  for (std::size_t row = 1; scanner.next_line(); ++row) {
    bool last = false;
    for (std::size_t column = 0; !last; ++column) {
      const Cell cell = scanner.next_cell(row);
      last = cell.last;
      if (column >= columns || (last && column + 1 != columns)) {
        std::size_t count = column + 1;
        while (!last) {
          last = scanner.next_cell(row).last;
          ++count;
        }
        data_error("{}: row {}: {} cells, but the header has {}; correct the row", table.path_, row, count, columns);
      }
      const std::string_view text = trim(content.substr(cell.begin, cell.end - cell.begin));
      if (text.empty()) {
        table.empty_.push_back({cell.begin, cell.end, table.values_.size()});
        table.values_.push_back(std::numeric_limits<double>::quiet_NaN());
        continue;
      }
      const std::optional<double> value = number_of(text);
      if (!value) {
        data_error("{}: row {}, column '{}': '{}' is not a finite number; leave unknown cells empty", table.path_, row,
                   shown(table.names_[column]), shown(text));
      }
      table.values_.push_back(*value);
      lowest[column] = std::min(lowest[column], *value);
      highest[column] = std::max(highest[column], *value);
      Style& style = table.styles_[column];
      if (text.find_first_of("eE") != std::string_view::npos) style.exponent = true;
      if (const std::size_t dot = text.find('.'); dot != std::string_view::npos) {
        style.decimals = std::max(style.decimals, static_cast<int>(std::min<std::size_t>(text.size() - dot - 1, 300)));
      }
    }
  }
  if (table.values_.empty()) data_error("{}: no row below the header; there is nothing to learn from", table.path_);
  for (std::size_t column = 0; column < columns; ++column) {
    if (lowest[column] > highest[column]) {
      data_error("{}: column '{}' holds no number at all; remove the column", table.path_, shown(table.names_[column]));
    }
    if (!std::isfinite(highest[column] - lowest[column])) {
      data_error("{}: column '{}': its numbers reach from {} to {}, too far apart to compute with; rescale the column",
                 table.path_, shown(table.names_[column]), lowest[column], highest[column]);
    }
  }
  return table;
}

std::string NumericTable::completed(const std::vector<double>& full, int extra_decimals) const {
  if (full.size() != values_.size()) throw std::logic_error("completed() wants one value per cell");
  std::string out;
  out.reserve(content_.size() + 8 * empty_.size());
  std::size_t at = 0;
  for (const EmptyCell& cell : empty_) {
    const std::size_t column = cell.index % columns();
    const double value = full[cell.index];
    if (!std::isfinite(value)) {
      numeric_error("{}: row {}, column '{}': the filled-in value is not finite; lower the learning rate", path_,
                    cell.index / columns() + 1, shown(names_[column]));
    }
    out.append(content_, at, cell.begin - at);
    const Style& style = styles_[column];
    std::string text = style.exponent ? fmt::format("{:.7g}", value)
                                      : fmt::format("{:.{}f}", value, std::min(style.decimals + extra_decimals, 12));
    if (text.starts_with('-') && text.find_first_of("123456789") == std::string::npos) text.erase(0, 1);  // -0.000
    out += text;
    at = cell.end;
  }
  return out.append(content_, at);
}

}  // namespace medfuse::data
