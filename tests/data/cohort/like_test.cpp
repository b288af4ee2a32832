// New patients packed as an earlier data set was: labs, scaling, sections and length are its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/packed/info_json.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Like : public ::testing::Test {
 protected:
  void SetUp() override {
    Hospital::with(40).write(scratch_ / "old");
    PackOptions options = options_of(scratch_ / "old", scratch_ / "packed");
    options.lab_value = "max";
    options.max_tokens = 60;
    options.window_hours = 100;
    options.sections = {"chief complaint"};
    pack(options, byte_encoder());
    info_ = read_index(scratch_ / "packed/index.json").info;
    Hospital h;
    h.admit(9001, 7001);
    h.note(9001, "Chief Complaint:\ncough\n\nPast Medical History:\nnone\n");
    h.lab(9001, 8, "150");
    h.lab(9001, 8, "130");
    h.lab(9001, 8, "160", "2150-02-01 13:00:00");  // after the window
    h.lab(9001, 55, "1");                          // no column
    h.admit(9002, 7002);
    h.lab(9002, 7, "3");
    h.diagnose(9002, "4280");
    h.write(scratch_ / "new");
  }

  PackSummary pack_new() {
    PackOptions options = options_like(info_);
    options.input = scratch_ / "new";
    options.output = scratch_ / "out";
    return pack(options, byte_encoder());
  }

  Scratch scratch_;
  PackedInfo info_;
};

TEST_F(Like, TakesLabsScalingAndLengthFromTheEarlierOne) {
  std::filesystem::remove(scratch_ / "new/DIAGNOSES_ICD.csv");
  const PackSummary summary = pack_new();
  const PackedReader reader(scratch_ / "out");
  EXPECT_FALSE(reader.info().has_labels);
  EXPECT_EQ(reader.info().diseases, info_.diseases);
  EXPECT_EQ(info_to_json(reader.info())["labs"], info_to_json(info_)["labs"]);
  EXPECT_EQ(reader.info().max_tokens, 60);
  EXPECT_EQ(summary.samples[static_cast<int>(Split::test)], 2);
  const Sample sample = sample_of(reader, 9001);
  const std::size_t sodium = info_.labs[0].item == 8 ? 0 : 1;
  const LabColumn& column = info_.labs[sodium];
  EXPECT_FLOAT_EQ(sample.labs[sodium], static_cast<float>((150 - column.low) / (column.high - column.low)));
  EXPECT_EQ(sample.observed[1 - sodium], 0);
  EXPECT_EQ(decode(sample), "Chief complaint: cough");
  EXPECT_TRUE(sample.labels.empty());
}

TEST_F(Like, LabelsIfTheTableIsThere) {
  pack_new();
  const PackedReader reader(scratch_ / "out");
  EXPECT_TRUE(reader.info().has_labels);
  EXPECT_EQ(sample_of(reader, 9002).labels, (std::vector<std::uint8_t>{0, 1}));
}

TEST_F(Like, PackingTheSameTablesGivesTheSameSamples) {
  PackOptions options = options_like(info_);
  options.input = scratch_ / "old";
  options.output = scratch_ / "again";
  options.shard_samples = 5;
  pack(options, byte_encoder());
  const PackedReader first(scratch_ / "packed"), again(scratch_ / "again");
  ASSERT_EQ(first.size(), again.size());
  for (std::int64_t i = 0; i < first.size(); ++i) {
    const Sample a = first.sample(i), b = again.sample(i);
    EXPECT_EQ(a.admission, b.admission);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.labs, b.labs);
    EXPECT_EQ(a.observed, b.observed);
    EXPECT_EQ(a.labels, b.labels);
    EXPECT_EQ(b.split, Split::test);
  }
}

TEST_F(Like, AnotherTokenizerIsRefused) {
  info_.tokenizer_fingerprint = "ffffffffffffffff";
  EXPECT_THAT(error_of([&] { pack_new(); }), AllOf(HasSubstr("tokenizer"), HasSubstr("bytes")));
}

}  // namespace
}  // namespace medfuse::data
