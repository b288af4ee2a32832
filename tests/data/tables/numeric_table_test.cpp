#include "data/tables/numeric_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/data/tables/table_files.h"

namespace medfuse::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::error_of;

std::filesystem::path table_file(const std::string& content) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "numeric_table_test.csv";
  testing::write_plain(path, content);
  return path;
}

NumericTable read(const std::string& content) { return NumericTable::read(table_file(content)); }

std::string filled(const std::string& content, const std::vector<double>& fill, int extra_decimals = 3) {
  const NumericTable table = read(content);
  std::vector<double> full = table.values();
  std::size_t next = 0;
  for (double& value : full) {
    if (std::isnan(value)) value = fill.at(next++);
  }
  EXPECT_EQ(next, fill.size());
  EXPECT_EQ(table.empty_cells(), fill.size());
  return table.completed(full, extra_decimals);
}

std::string complaint(const std::string& content) {
  return error_of([&] { read(content); });
}

TEST(NumericTable, ReadsNumbersAndEmptyCells) {
  const NumericTable table = read("a,b b,\"c,\"\"d\"\n1,,3\n-4.5,+5e1,\n");
  EXPECT_THAT(table.names(), ::testing::ElementsAre("a", "b b", "c,\"d"));
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.columns(), 3u);
  EXPECT_EQ(table.empty_cells(), 2u);
  EXPECT_EQ(table.values()[0], 1);
  EXPECT_TRUE(std::isnan(table.values()[1]));
  EXPECT_EQ(table.values()[2], 3);
  EXPECT_EQ(table.values()[3], -4.5);
  EXPECT_EQ(table.values()[4], 50);
  EXPECT_TRUE(std::isnan(table.values()[5]));
}

TEST(NumericTable, RewritesNothingButEmptyCells) {
  // Byte-order mark, CRLF, blank line, quotes, blanks, odd spellings of numbers, no end of the last line.
  EXPECT_EQ(filled("\xEF\xBB\xBF\"a\", b,c\r\n 007 ,,\"1.50\"\r\n\r\n\"\",1E2,  \r\n+3,-.5,2.", {8, 9, 0.123}),
            "\xEF\xBB\xBF\"a\", b,c\r\n 007 ,8,\"1.50\"\r\n\r\n\"9.000\",1E2,0.12300\r\n+3,-.5,2.");
  const std::string complete = "a,b\n1,2\n3,4\n";
  EXPECT_EQ(filled(complete, {}), complete);
  EXPECT_EQ(filled("a,b\n,2\n1,\n", {0.5, 0.25}), "a,b\n0.500,2\n1,0.250\n");
  EXPECT_EQ(filled("a,b\n1,2\n,", {3, 4}), "a,b\n1,2\n3.000,4.000");
}

TEST(NumericTable, WritesSensibleDecimals) {
  EXPECT_EQ(filled("a,b\n1,0.25\n,\n", {2.71828, 0.123456789}), "a,b\n1,0.25\n2.718,0.12346\n");
  EXPECT_EQ(filled("a,b\n1,0.25\n,\n", {2.71828, 0.123456789}, 0), "a,b\n1,0.25\n3,0.12\n");
  EXPECT_EQ(filled("a,b\n1e-9,3\n,4\n", {1.23456789e-10}), "a,b\n1e-9,3\n1.234568e-10,4\n");
  EXPECT_EQ(filled("a,b\n1,3\n,4\n", {-0.0001}), "a,b\n1,3\n0.000,4\n");
}

TEST(NumericTable, RefusesNumbersThatAreNotFinite) {
  const NumericTable table = read("a,b\n1,2\n3,\n");
  const std::string message = error_of(
      [&] { table.completed({1, 2, 3, std::numeric_limits<double>::infinity()}); }, ExitCode::numeric);
  EXPECT_THAT(message, AllOf(HasSubstr("row 2"), HasSubstr("'b'")));
}

TEST(NumericTable, SaysWhatIsWrong) {
  EXPECT_THAT(complaint("a,b\n1,2\n1,x\n"), AllOf(HasSubstr("numeric_table_test.csv"), HasSubstr("row 2"),
                                                  HasSubstr("column 'b'"), HasSubstr("'x'")));
  for (const char* cell : {"NA", "nan", "inf", "1e999", "1 2", "0x10", "1.2.3", "--1", "+-1"}) {
    EXPECT_THAT(complaint(std::string("a,b\n1,") + cell + "\n"), HasSubstr("row 1, column 'b'")) << cell;
  }
  EXPECT_THAT(complaint("a,b\n1,2\n1\n"), AllOf(HasSubstr("row 2"), HasSubstr("1 cells"), HasSubstr("has 2")));
  EXPECT_THAT(complaint("a,b\n1,2,3,4\n"), AllOf(HasSubstr("row 1"), HasSubstr("4 cells")));
  EXPECT_THAT(complaint(""), HasSubstr("empty file"));
  EXPECT_THAT(complaint("\n\n"), HasSubstr("empty file"));
  EXPECT_THAT(complaint("a,b\n"), HasSubstr("no row"));
  EXPECT_THAT(complaint("a,b,a\n1,2,3\n"), HasSubstr("'a' is there twice"));
  EXPECT_THAT(complaint(",b\n1,2\n"), HasSubstr("column 1 has no name"));
  EXPECT_THAT(complaint("a,b\n1,\n2, \n"), HasSubstr("column 'b' holds no number"));
  EXPECT_THAT(complaint("a\n1\n2\n"), HasSubstr("single column"));
  EXPECT_THAT(complaint("a,b\n1,1e308\n2,-1e308\n,3\n"), HasSubstr("column 'b': its numbers reach from -1e+308 to 1e+308"));
  EXPECT_THAT(complaint("1,2\n3,4\n"), HasSubstr("header row"));
  EXPECT_THAT(complaint("a,b\n1,\"2\n"), AllOf(HasSubstr("row 1"), HasSubstr("never closed")));
  EXPECT_THAT(complaint("a,b\n1,\"2\"3\n"), AllOf(HasSubstr("row 1"), HasSubstr("closing quote")));
  EXPECT_THAT(complaint("\x1f\x8b\x08"), HasSubstr("decompress"));
  EXPECT_THAT(error_of([] { NumericTable::read("/nowhere/at/all.csv"); }), HasSubstr("/nowhere/at/all.csv"));
}

}  // namespace
}  // namespace medfuse::data
