// A table of electronic health records, plain or gzip: every cell asked for is read and parsed in every way.
#include "data/tables/csv_reader.h"
#include "data/tables/fields.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  const auto path = fuzz::write_input("table.csv", fuzz::text_of(data, size));
  fuzz::allow_refusal([&] {
    data::CsvReader reader(path, {{"SUBJECT_ID", ""}, {"CHARTTIME", "tables.labs.time", false}, {"VALUENUM", "", false}, {"", ""}});
    std::uint64_t rows = 0, line = 0;
    while (reader.next()) {
      ++rows;
      fuzz::require(reader.row() == rows, "rows are counted one by one");
      fuzz::require(reader.line() >= line, "no row begins on an earlier line");  // a bare CR ends a row, but no line
      line = reader.line();
      for (std::size_t column = 0; column < 4; ++column) {
        const std::string cell(reader[column]);
        fuzz::require(reader.has(column) || cell.empty(), "a column that is not there is empty");
        data::parse_integer(cell);
        data::parse_number(cell);
        data::parse_time(cell);
        data::is_utf8(cell);
      }
    }
  });
  return 0;
}
