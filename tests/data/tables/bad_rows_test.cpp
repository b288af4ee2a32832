#include "data/tables/bad_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/scratch.h"
#include "tests/data/tables/table_files.h"

namespace medfuse::data {
namespace {

using medfuse::testing::error_of;
using medfuse::testing::Scratch;
using medfuse::testing::write_plain;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<Column> columns = {{"ID", "a"}, {"TEXT", "b"}};

TEST(BadRows, SkipReportsTheFirstFewThenCounts) {
  const Scratch scratch;
  std::string content = "ID,TEXT\n1,secret\n";
  for (int i = 0; i < 10; ++i) content += "2\n";
  content += "3,caf\xe9\n";
  write_plain(scratch / "t.csv", content);
  std::vector<std::string> log;
  BadRows bad("skip", [&](const std::string& line) { log.push_back(line); }, 3);
  CsvReader reader(scratch / "t.csv", columns);
  int good = 0;
  while (reader.next()) good += bad.check(reader, 2);
  EXPECT_EQ(good, 1);
  EXPECT_EQ(bad.finish(reader), 11u);
  ASSERT_EQ(log.size(), 3u + 1 + 2);
  EXPECT_THAT(log[0], AllOf(HasSubstr("t.csv"), HasSubstr("row 2 (line 3)")));
  EXPECT_THAT(log[3], AllOf(HasSubstr("row 12"), HasSubstr("UTF-8")));
  EXPECT_THAT(log[4], HasSubstr("10 bad rows"));
  EXPECT_EQ(bad.finish(reader), 0u);
}

TEST(BadRows, StopNamesFileRowAndRemedy) {
  const Scratch scratch;
  write_plain(scratch / "t.csv", "ID,TEXT\n1,a\n2\n");
  BadRows bad("stop", [](const std::string&) {});
  CsvReader reader(scratch / "t.csv", columns);
  ASSERT_TRUE(reader.next() && bad.check(reader, 2) && reader.next());
  EXPECT_THAT(error_of([&] { bad.check(reader, 2); }),
              AllOf(HasSubstr("t.csv"), HasSubstr("row 2"), HasSubstr("bad_rows = skip")));
}

TEST(BadRows, PolicyMustBeKnown) {
  EXPECT_THAT(error_of([] { BadRows("ignore", [](const std::string&) {}); }, ExitCode::usage), HasSubstr("ignore"));
}

}  // namespace
}  // namespace medfuse::data
