#include "data/tables/csv_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "tests/base/scratch.h"
#include "tests/data/tables/table_files.h"

namespace medfuse::data {
namespace {

using medfuse::testing::error_of;
using medfuse::testing::Scratch;
using medfuse::testing::write_gzip;
using medfuse::testing::write_plain;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Cells = std::vector<std::vector<std::string>>;

const std::vector<Column> id_and_text = {{"ID", "tables.t.id"}, {"TEXT", "tables.t.text"}};

Cells read_all(const std::filesystem::path& path, const std::vector<Column>& columns = id_and_text) {
  CsvReader reader(path, columns);
  Cells rows;
  while (reader.next()) {
    rows.emplace_back();
    for (std::size_t i = 0; i < columns.size(); ++i) rows.back().emplace_back(reader[i]);
  }
  return rows;
}

TEST(CsvReader, FindsColumnsInAnyOrderAndCase) {
  const Scratch scratch;
  write_plain(scratch / "t.csv", "other,text,\"Id\"\nx,hello,1\ny,,2\n");
  EXPECT_EQ(read_all(scratch / "t.csv"), (Cells{{"1", "hello"}, {"2", ""}}));
}

TEST(CsvReader, QuotesNewlinesBomAndCrlf) {
  const Scratch scratch;
  const std::string content =
      "\xef\xbb\xbf"
      "ID,TEXT\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n\r\n2,\" kept \"\r\n3,last without end";
  write_plain(scratch / "t.csv", content);
  write_gzip(scratch / "t.csv.gz", content);
  const Cells expected = {{"1", "two\nlines, \"quoted\""}, {"2", " kept "}, {"3", "last without end"}};
  EXPECT_EQ(read_all(scratch / "t.csv"), expected);
  EXPECT_EQ(read_all(scratch / "t.csv.gz"), expected);
}

TEST(CsvReader, BareCarriageReturnsEndRowsTheHeaderToo) {
  const Scratch scratch;
  for (const char* content : {"ID,TEXT\r1,a\r2,b\r", "ID,TEXT\r1,a\n2,b\n", "ID,TEXT\r1,a\r\n2,b", "\r\rID,TEXT\n1,a\r2,b\n"}) {
    write_plain(scratch / "t.csv", content);
    EXPECT_EQ(read_all(scratch / "t.csv"), (Cells{{"1", "a"}, {"2", "b"}})) << content;
  }
}

TEST(CsvReader, KnowsRowsAndLines) {
  const Scratch scratch;
  write_plain(scratch / "t.csv", "ID,TEXT\n1,\"a\nb\"\n\n2,c\n3\n4,d,e\n");
  CsvReader reader(scratch / "t.csv", id_and_text);
  std::vector<std::uint64_t> lines;
  std::vector<bool> complete;
  while (reader.next()) {
    lines.push_back(reader.line());
    complete.push_back(reader.complete());
    EXPECT_EQ(reader.row(), lines.size());
  }
  EXPECT_EQ(lines, (std::vector<std::uint64_t>{2, 5, 6, 7}));
  EXPECT_EQ(complete, (std::vector<bool>{true, true, false, false}));
}

TEST(CsvReader, RowsAcrossBlocks) {
  const Scratch scratch;
  std::string content = "TEXT,ID\n";
  Cells expected;
  for (int i = 0; i < 3000; ++i) {
    // Lengths around and far above the block's, so that rows begin and end everywhere in a block.
    const std::string text(i % 500 == 0 ? 400'000 : static_cast<std::size_t>(i % 377), static_cast<char>('a' + i % 26));
    content += "\"" + text + "\n\"," + (i % 3 == 0 ? "" : std::to_string(i)) + "\n";
    expected.push_back({i % 3 == 0 ? "" : std::to_string(i), text + "\n"});
  }
  write_plain(scratch / "t.csv", content);
  EXPECT_TRUE(read_all(scratch / "t.csv") == expected);
  write_gzip(scratch / "t.csv.gz", content);
  EXPECT_TRUE(read_all(scratch / "t.csv.gz") == expected);
}

TEST(CsvReader, OptionalAndUnnamedColumns) {
  const Scratch scratch;
  write_plain(scratch / "t.csv", "ID\n1\n");
  const std::vector<Column> columns = {{"ID", "a"}, {"TEXT", "b", false}, {"", "c"}};
  CsvReader reader(scratch / "t.csv", columns);
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(reader.has(0));
  EXPECT_FALSE(reader.has(1));
  EXPECT_FALSE(reader.has(2));
  EXPECT_EQ(reader[1], "");
}

TEST(CsvReader, MistakesAreOneClearError) {
  const Scratch scratch;
  const auto t = scratch / "t.csv";
  const auto read = [&] { read_all(t); };
  EXPECT_THAT(error_of(read), HasSubstr("t.csv"));
  write_plain(t, "");
  EXPECT_THAT(error_of(read), AllOf(HasSubstr("t.csv"), HasSubstr("is empty")));
  write_plain(t, "ID,TEXT\n");
  EXPECT_THAT(error_of(read), HasSubstr("no data row"));
  write_plain(t, "ID,TEXT");
  EXPECT_THAT(error_of(read), HasSubstr("no data row"));
  write_plain(t, "ID,NOTE\n1,x\n");
  EXPECT_THAT(error_of(read), AllOf(HasSubstr("column TEXT is missing"), HasSubstr("tables.t.text")));
  write_plain(t, "ID,TEXT,id\n1,x,2\n");
  EXPECT_THAT(error_of(read), HasSubstr("twice"));
  write_plain(t, "ID,TEXT\n1,a\n2,\"never closed\n3,b\n");
  EXPECT_THAT(error_of(read), AllOf(HasSubstr("row 2"), HasSubstr("line 3"), HasSubstr("never closed:")));
  std::filesystem::create_directory(scratch / "folder.csv");
  EXPECT_THAT(error_of([&] { read_all(scratch / "folder.csv"); }), HasSubstr("folder.csv"));
}

TEST(CsvReader, TruncatedAndCorruptedGzip) {
  const Scratch scratch;
  std::string content = "ID,TEXT\n";
  std::uint64_t state = 1;
  for (int i = 0; i < 50'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    content += std::to_string(i) + "," + std::to_string(state) + "\n";
  }
  write_gzip(scratch / "t.csv.gz", content);
  const std::string good = read_file(scratch / "t.csv.gz");
  write_plain(scratch / "t.csv.gz", good.substr(0, good.size() / 2));
  EXPECT_THAT(error_of([&] { read_all(scratch / "t.csv.gz"); }), AllOf(HasSubstr("t.csv.gz"), HasSubstr("truncated")));
  write_plain(scratch / "t.csv.gz", good.substr(0, good.size() - 4));
  EXPECT_THAT(error_of([&] { read_all(scratch / "t.csv.gz"); }), HasSubstr("truncated"));
  std::string bad = good;
  bad[bad.size() - 6] ^= 1;  // the stored CRC
  write_plain(scratch / "t.csv.gz", bad);
  EXPECT_THAT(error_of([&] { read_all(scratch / "t.csv.gz"); }), HasSubstr("corrupted"));
}

TEST(FindTable, EitherCasePlainOrGzip) {
  const Scratch scratch;
  write_plain(scratch / "admissions.csv", "x");
  write_plain(scratch / "LABEVENTS.csv.gz", "x");
  write_plain(scratch / "NoteEvents.CSV", "x");
  write_plain(scratch / "special.txt", "x");
  EXPECT_EQ(find_table(scratch.path(), "ADMISSIONS"), scratch / "admissions.csv");
  EXPECT_EQ(find_table(scratch.path(), "labevents"), scratch / "LABEVENTS.csv.gz");
  EXPECT_EQ(find_table(scratch.path(), "NOTEEVENTS"), scratch / "NoteEvents.CSV");
  EXPECT_EQ(find_table(scratch.path(), "special.txt"), scratch / "special.txt");
  EXPECT_TRUE(find_table(scratch.path(), "OTHER").empty());
  EXPECT_THAT(error_of([&] { require_table(scratch.path(), "OTHER", "tables.other"); }),
              AllOf(HasSubstr("OTHER.csv"), HasSubstr("tables.other")));
  EXPECT_THAT(error_of([&] { find_table(scratch / "nowhere", "OTHER"); }), HasSubstr("nowhere"));
  write_plain(scratch / "ADMISSIONS.csv.gz", "x");
  EXPECT_THAT(error_of([&] { find_table(scratch.path(), "ADMISSIONS"); }), HasSubstr("remove one"));
}

}  // namespace
}  // namespace medfuse::data
