#include "data/tables/csv_reader.h"

#include <csv.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "base/error.h"
#include "data/tables/fields.h"

namespace medfuse::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t block_size = 1 << 18;
constexpr std::size_t largest_field = 64u << 20;
constexpr std::uint32_t unwanted = std::numeric_limits<std::uint32_t>::max();

struct Cell {
  std::uint32_t begin = 0;
  std::uint32_t size = 0;
};

struct Row {
  std::uint64_t line = 0;
  bool complete = false;
};

}  // namespace

/// libcsv pushes cells; those of one block are gathered here and handed out row by row.
struct CsvReader::State {
  fs::path path;
  gzFile file = nullptr;
  csv_parser parser{};
  bool ended = false;

  std::vector<std::string> header;       // until the first row has ended
  bool header_done = false;
  std::vector<std::uint32_t> slot;       // file's column -> wanted column
  std::vector<bool> present;             // [wanted]
  std::size_t wanted = 0;

  std::string bytes;                     // cells of the block's rows
  std::vector<Cell> cells;               // [rows of the block, wanted]
  std::vector<Row> rows;
  std::vector<Cell> current;             // of the row being parsed, may continue in the next block
  std::size_t column = 0;
  std::uint64_t line = 1, row_line = 1;  // line being parsed, line where its row began

  std::size_t position = 0;              // one past the present row in `rows`
  std::uint64_t row = 0;
  std::vector<char> block = std::vector<char>(block_size);
  std::string rest;                      // of the header's block, behind the header

  ~State() {
    csv_free(&parser);
    if (file != nullptr) gzclose(file);
  }

  void field(const char* data, std::size_t size) {
    if (size > 0 && std::memchr(data, '\n', size) != nullptr) {
      line += static_cast<std::uint64_t>(std::count(data, data + size, '\n'));
    }
    if (!header_done) {
      header.emplace_back(data, size);
    } else if (column < slot.size() && slot[column] != unwanted) {
      current[slot[column]] = {static_cast<std::uint32_t>(bytes.size()), static_cast<std::uint32_t>(size)};
      bytes.append(data, size);
    }
    ++column;
  }

  void end_of_row(int terminator) {
    if (column > 0) {
      if (!header_done) {
        header_done = true;
      } else {
        rows.push_back({row_line, column == slot.size()});
        cells.insert(cells.end(), current.begin(), current.end());
        std::fill(current.begin(), current.end(), Cell{});
      }
      column = 0;
    }
    if (terminator == '\n') ++line;
    row_line = line;
  }

  static void on_field(void* data, std::size_t size, void* state) {
    static_cast<State*>(state)->field(static_cast<const char*>(data), size);
  }
  static void on_row(int terminator, void* state) { static_cast<State*>(state)->end_of_row(terminator); }

  /// Parses until there are rows (or, for the header, until it is complete). False at the end of the file.
  bool fill();
  void start_block();
  std::size_t read_block();
  void find_columns(const std::vector<Column>& columns);
};

/// Keeps what the unfinished row already has.
void CsvReader::State::start_block() {
  std::string kept;
  for (Cell& cell : current) {
    if (cell.size == 0) {
      cell = Cell{};
      continue;
    }
    const auto begin = static_cast<std::uint32_t>(kept.size());
    kept.append(bytes, cell.begin, cell.size);
    cell.begin = begin;
  }
  bytes = std::move(kept);
  cells.clear();
  rows.clear();
  position = 0;
}

std::size_t CsvReader::State::read_block() {
  const int n = gzread(file, block.data(), static_cast<unsigned>(block.size()));
  int code = Z_OK;
  if (n < static_cast<int>(block.size())) gzerror(file, &code);
  if (code == Z_BUF_ERROR) {
    data_error("{}: the gzip file is truncated, behind row {} or later: copy it again", path.string(), row + rows.size());
  }
  if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    if (code == Z_ERRNO) data_error("{}: read error ({}): check the disk", path.string(), std::strerror(errno));
    data_error("{}: the gzip file is corrupted, behind row {} or later: copy it again", path.string(), row + rows.size());
  }
  return static_cast<std::size_t>(n);
}

bool CsvReader::State::fill() {
  start_block();
  bool first_block = !header_done && header.empty() && line == 1;
  const bool want_header = !header_done;
  while (!ended && rows.empty() && !(want_header && header_done)) {
    std::size_t size = read_block();
    const char* begin = block.data();
    if (first_block && size >= 3 && std::memcmp(begin, "\xef\xbb\xbf", 3) == 0) {
      begin += 3;
      size -= 3;
    }
    first_block = false;
    if (size == 0) {
      csv_set_opts(&parser, CSV_REPALL_NL | CSV_STRICT | CSV_STRICT_FINI);  // an open quotation is an error at the end
      if (csv_fini(&parser, on_field, on_row, this) != 0) {
        data_error("{}: a quotation that begins in row {} (line {}) is never closed: correct the file or copy it again",
                   path.string(), row + rows.size() + 1, row_line);
      }
      ended = true;
      break;
    }
    // While the header is awaited, stop after it: its columns decide what is kept of the rows behind it.
    while (size > 0) {
      std::size_t step = size;
      if (!header_done) {
        const std::size_t end = std::string_view(begin, size).find_first_of("\r\n");
        if (end != std::string_view::npos) step = end + 1;
      }
      if (csv_parse(&parser, begin, step, on_field, on_row, this) != step) {
        data_error("{}: row {} cannot be parsed ({}): correct the file", path.string(), row + rows.size() + 1,
                   csv_strerror(csv_error(&parser)));
      }
      begin += step;
      size -= step;
      if (want_header && header_done) break;
    }
    if (want_header && header_done) rest.assign(begin, size);
    if (parser.entry_pos > largest_field || bytes.size() > std::numeric_limits<std::uint32_t>::max() / 2) {
      data_error("{}: a quotation that begins in row {} (line {}) does not end within {} MiB: correct the file",
                 path.string(), row + rows.size() + 1, row_line, largest_field >> 20);
    }
  }
  return !rows.empty();
}

void CsvReader::State::find_columns(const std::vector<Column>& columns) {
  wanted = columns.size();
  slot.assign(header.size(), unwanted);
  present.assign(wanted, false);
  current.assign(wanted, Cell{});
  for (std::size_t i = 0; i < wanted; ++i) {
    if (columns[i].name.empty()) continue;
    const std::string name = lower(trim(columns[i].name));
    std::size_t found = header.size();
    for (std::size_t h = 0; h < header.size(); ++h) {
      if (lower(trim(header[h])) != name) continue;
      if (found < header.size()) data_error("{}: column {} is there twice: rename one", path.string(), columns[i].name);
      found = h;
    }
    if (found < header.size()) {
      if (slot[found] != unwanted) {
        data_error("{}: column {} is named for two purposes, the second is {}: correct the configuration",
                   path.string(), columns[i].name, columns[i].option);
      }
      slot[found] = static_cast<std::uint32_t>(i);
      present[i] = true;
    } else if (columns[i].required && columns[i].option.empty()) {
      data_error("{}: column {} is missing from the header: name it so", path.string(), columns[i].name);
    } else if (columns[i].required) {
      data_error("{}: column {} is missing from the header: set {} in the configuration to the column's name here{}",
                 path.string(), columns[i].name, columns[i].option,
                 header.size() == 1 ? " (it has one column only: is it text, with cells separated by commas?)" : "");
    }
  }
}

CsvReader::CsvReader(const fs::path& path, const std::vector<Column>& columns) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = path;
  s.file = gzopen(path.c_str(), "rbe");
  if (s.file == nullptr) data_error("{}: cannot be opened ({})", path.string(), std::strerror(errno));
  gzbuffer(s.file, block_size);
  if (csv_init(&s.parser, CSV_REPALL_NL) != 0) throw std::bad_alloc();
  csv_set_blk_size(&s.parser, 4096);
  s.fill();
  if (!s.header_done) data_error("{}: is empty, a header row and data rows are needed", path.string());
  s.find_columns(columns);
  if (!s.ended) {
    if (csv_parse(&s.parser, s.rest.data(), s.rest.size(), State::on_field, State::on_row, &s) != s.rest.size()) {
      data_error("{}: row 1 cannot be parsed ({}): correct the file", path.string(),
                 csv_strerror(csv_error(&s.parser)));
    }
    s.rest.clear();
  }
}

CsvReader::~CsvReader() = default;
CsvReader::CsvReader(CsvReader&&) noexcept = default;

bool CsvReader::next() {
  State& s = *state_;
  if (s.position >= s.rows.size() && !s.fill()) {
    if (s.row == 0) data_error("{}: has a header but no data row", s.path.string());
    return false;
  }
  ++s.position;
  ++s.row;
  return true;
}

std::string_view CsvReader::operator[](std::size_t i) const {
  const State& s = *state_;
  const Cell& cell = s.cells[(s.position - 1) * s.wanted + i];
  return std::string_view(s.bytes).substr(cell.begin, cell.size);
}

bool CsvReader::has(std::size_t i) const { return state_->present[i]; }
std::uint64_t CsvReader::row() const { return state_->row; }
std::uint64_t CsvReader::line() const { return state_->rows[state_->position - 1].line; }
bool CsvReader::complete() const { return state_->rows[state_->position - 1].complete; }
const fs::path& CsvReader::path() const { return state_->path; }

fs::path find_table(const fs::path& folder, const std::string& name) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) data_error("{}: is not a folder of tables", folder.string());
  const std::string wanted = lower(name);
  fs::path found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string file = lower(entry.path().filename().string());
    if (file != wanted + ".csv" && file != wanted + ".csv.gz" && file != wanted) continue;
    if (entry.is_directory()) continue;
    if (!found.empty()) {
      data_error("{}: holds both {} and {}: remove one", folder.string(),
                 std::min(found, entry.path()).filename().string(), std::max(found, entry.path()).filename().string());
    }
    found = entry.path();
  }
  if (error) data_error("{}: cannot be listed ({})", folder.string(), error.message());
  return found;
}

fs::path require_table(const fs::path& folder, const std::string& name, const std::string& option) {
  fs::path found = find_table(folder, name);
  if (found.empty()) {
    data_error("{}: holds no {}.csv or {}.csv.gz: copy the table there, or set {} to its name (empty: none)",
               folder.string(), name, name, option);
  }
  return found;
}

}  // namespace medfuse::data
