// Packing with teams of several sizes gives the same files, byte for byte.
#include <gtest/gtest.h>

#include <map>

#include "base/files.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;

std::map<std::string, std::string> contents(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_file(entry.path());
    EXPECT_EQ(mode(entry.path()), 0600u) << entry.path();
  }
  EXPECT_EQ(mode(folder), 0700u);
  return files;
}

TEST(Team, SameBytesForEveryTeamSize) {
  const Scratch scratch;
  Hospital h = Hospital::with(61);
  h.labs += "bad,7,2150-01-01 10:00:00,1,1,mmol/L,\n";
  h.admit(5000, 900);  // nothing known: left out
  h.write(scratch / "in");
  for (const std::string value : {"mean", "last"}) {
    PackOptions options = options_of(scratch / "in", scratch / ("one-" + value));
    options.lab_value = value;
    const PackSummary one = pack_together(options, 1).front();
    EXPECT_EQ(one.left_out, 1);
    EXPECT_EQ(one.info.samples, 61);
    const auto expected = contents(options.output);
    EXPECT_EQ(expected.size(), 1u + 8);
    for (const int count : {2, 3, 9, 20}) {
      options.output = scratch / ("team-" + value + std::to_string(count));
      const auto summaries = pack_together(options, count);
      EXPECT_TRUE(contents(options.output) == expected) << count << " members";
      for (const PackSummary& summary : summaries) EXPECT_EQ(format_summary(summary), format_summary(one));
    }
  }
}

TEST(Team, PackingAgainReplacesTheEarlierDataSet) {
  const Scratch scratch;
  Hospital::with(40).write(scratch / "large");
  Hospital::with(10).write(scratch / "small");
  pack(options_of(scratch / "large", scratch / "out"), byte_encoder());
  pack(options_of(scratch / "small", scratch / "out"), byte_encoder());
  pack(options_of(scratch / "small", scratch / "fresh"), byte_encoder());
  EXPECT_TRUE(contents(scratch / "out") == contents(scratch / "fresh"));
}

// Runs depend on packed data: a packing that fails, early or late, must not cost them theirs.
TEST(Team, AFailedPackingLeavesTheEarlierDataSet) {
  const Scratch scratch;
  Hospital::with(10).write(scratch / "in");
  pack(options_of(scratch / "in", scratch / "out"), byte_encoder());
  const auto before = contents(scratch / "out");
  Hospital lacking = Hospital::with(10);
  lacking.labs = "HADM_ID,CHARTTIME\n";
  lacking.write(scratch / "in");
  EXPECT_NE(error_of([&] { pack_together(options_of(scratch / "in", scratch / "out"), 3); }), "");
  EXPECT_TRUE(contents(scratch / "out") == before);
  Hospital::with(10).write(scratch / "in");
  auto failing = byte_encoder();
  failing.encode = [](std::string_view, bool) -> std::vector<std::int32_t> { data_error("in the midst of it"); };
  EXPECT_EQ(error_of([&] { pack(options_of(scratch / "in", scratch / "out"), failing); }), "in the midst of it");
  EXPECT_TRUE(contents(scratch / "out") == before);
  EXPECT_EQ(data::PackedReader(scratch / "out").size(), 10);
  // And leaves no trace where there was none.
  EXPECT_NE(error_of([&] { pack(options_of(scratch / "in", scratch / "fresh"), failing); }), "");
  EXPECT_FALSE(std::filesystem::exists(scratch / "fresh"));
}

TEST(Team, ErrorsReachEveryMember) {
  const Scratch scratch;
  Hospital h = Hospital::with(20);
  h.labs += "77,7,2150-01-01 10:00:00,1,1,mmol/L,\n";
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.bad_rows = "stop";
  EXPECT_NE(error_of([&] { pack_together(options, 3); }), "");
  EXPECT_FALSE(std::filesystem::exists(scratch / "out/index.json"));
}

}  // namespace
}  // namespace medfuse::data
