#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "data/cohort/admissions.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::map<std::int64_t, Split> splits_by_patient(const std::filesystem::path& folder) {
  const PackedReader reader(folder);
  std::map<std::int64_t, Split> splits;
  for (std::int64_t i = 0; i < reader.size(); ++i) {
    const Sample sample = reader.sample(i);
    const auto [at, added] = splits.emplace(sample.patient, sample.split);
    EXPECT_EQ(at->second, sample.split) << "patient " << sample.patient << " is in two splits";
  }
  return splits;
}

TEST(Splits, FractionsHold) {
  std::map<Split, int> counts;
  for (std::int64_t patient = 0; patient < 20'000; ++patient) ++counts[split_of(patient, 0, 0.7, 0.1)];
  EXPECT_NEAR(counts[Split::train], 14'000, 250);
  EXPECT_NEAR(counts[Split::validation], 2'000, 150);
  EXPECT_NEAR(counts[Split::test], 4'000, 200);
  int moved = 0;
  for (std::int64_t patient = 0; patient < 1000; ++patient) {
    moved += split_of(patient, 0, 0.7, 0.1) != split_of(patient, 1, 0.7, 0.1);
  }
  EXPECT_GT(moved, 300);  // the seed matters
}

TEST(Splits, ValuesStayForEver) {
  // A released data set must not change its splits with a later version.
  std::string first;
  for (std::int64_t patient = 1; patient <= 20; ++patient) first += split_name(split_of(patient, 0, 0.7, 0.1))[1];
  EXPECT_EQ(first, "aarerearrrrarrrrrerr");
}

TEST(Splits, PatientDisjointAndStableUnderAddedPatients) {
  const Scratch scratch;
  Hospital::with(60).write(scratch / "small");
  Hospital::with(100).write(scratch / "large");
  pack(options_of(scratch / "small", scratch / "a"), byte_encoder());
  pack(options_of(scratch / "large", scratch / "b"), byte_encoder());
  const auto small = splits_by_patient(scratch / "a"), large = splits_by_patient(scratch / "b");
  ASSERT_GT(large.size(), small.size());
  for (const auto& [patient, split] : small) EXPECT_EQ(large.at(patient), split);
}

TEST(Splits, FromFile) {
  const Scratch scratch;
  const Hospital h = Hospital::with(20);
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.split_file = "splits.csv";
  std::string rows = "split,subject_id\n";
  for (int patient = 501; patient <= 510; ++patient) {
    rows += std::string(patient % 3 == 0 ? "train" : patient % 3 == 1 ? "Validation" : "test") + "," +
            std::to_string(patient) + "\n";
  }
  write_plain(scratch / "in/splits.csv", rows);
  pack(options, byte_encoder());
  for (const auto& [patient, split] : splits_by_patient(scratch / "out")) {
    EXPECT_EQ(split, patient % 3 == 0 ? Split::train : patient % 3 == 1 ? Split::validation : Split::test);
  }
  write_plain(scratch / "in/splits.csv", "subject_id,split\n501,train\n502,test\n");
  EXPECT_THAT(error_of([&] { pack(options, byte_encoder()); }), AllOf(HasSubstr("splits.csv"), HasSubstr("16 of 20")));
  write_plain(scratch / "in/splits.csv", "subject_id,split\n501,train\n501,test\n");
  EXPECT_THAT(error_of([&] { pack(options, byte_encoder()); }), AllOf(HasSubstr("splits.csv"), HasSubstr("row 2")));
  options.split_file = "absent.csv";
  EXPECT_THAT(error_of([&] { pack(options, byte_encoder()); }),
              AllOf(HasSubstr("absent.csv"), HasSubstr("split.file")));
}

}  // namespace
}  // namespace medfuse::data
