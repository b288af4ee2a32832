// The data sets that come with the project pack, and hold what their descriptions say.
#include <gtest/gtest.h>

#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;

const std::filesystem::path samples = "data/samples";  // tests run in the source folder

TEST(SampleData, Clinosim) {
  const Scratch scratch;
  PackOptions options = options_of(samples / "clinosim-mimic3", scratch / "out");
  options.diseases = "phenotypes.csv";
  options.split_file = "splits.csv";
  options.max_tokens = 2000;
  options.shard_samples = 512;
  options.bad_rows = "stop";
  const PackSummary summary = pack(options, byte_encoder());
  EXPECT_EQ(summary.info.samples, 4776);
  EXPECT_EQ(summary.samples[0], 3455);
  EXPECT_EQ(summary.samples[1], 451);
  EXPECT_EQ(summary.samples[2], 870);
  EXPECT_EQ(summary.info.labs.size(), 37u);
  EXPECT_EQ(summary.with_notes, 4776);
  EXPECT_EQ(summary.info.diseases.size(), 10u);
  EXPECT_EQ(summary.info.diseases[0], "copd");
  EXPECT_EQ(summary.positives[0][0] + summary.positives[1][0] + summary.positives[2][0], 2047);
  const std::string text = decode(PackedReader(scratch / "out").sample(0));
  EXPECT_EQ(text.substr(0, text.find("\nAbnormal labs: ")),
            "Chief complaint: Fever, dysuria, flank pain\n"
            "History of present illness: Patient reports rapid symptom worsening prompting today's presentation. "
            "In the ED, initial vitals: BP 112/77 mmHg, HR 85 bpm, RR 24 /min, SpO2 92%, T 38.6 C.\n"
            "Past medical history: 1. Overweight 2. Benign prostatic hyperplasia without lower urinary tract symptoms\n"
            "Medications on admission: No home medications");
  EXPECT_EQ(text.find("nephritis"), std::string::npos);  // the discharge diagnosis
}

TEST(SampleData, Mimic3Demo) {
  const Scratch scratch;
  PackOptions options = options_of(samples / "mimic3-demo", scratch / "out");
  options.diseases = (samples / "clinosim-mimic3/phenotypes.csv").string();
  options.tables.notes = "";
  options.tables.admissions_text = "DIAGNOSIS";
  options.max_tokens = 2000;
  options.shard_samples = 512;
  const PackSummary summary = pack(options, byte_encoder());
  EXPECT_EQ(summary.admissions, 129);
  EXPECT_EQ(summary.info.samples, 129);
  for (const TableCount& table : summary.tables) {
    if (table.file != "LABEVENTS.csv.gz") continue;
    EXPECT_EQ(table.rows, 76074u);
    EXPECT_NEAR(static_cast<double>(table.without_admission) / 76074, 0.19, 0.01);
    EXPECT_EQ(table.bad, 0u);
  }
  EXPECT_EQ(summary.info.labs.size(), 64u);
  const std::string text = decode(sample_of(PackedReader(scratch / "out"), 142345));
  EXPECT_EQ(text.rfind("Reason for admission: SEPSIS\nAbnormal labs: ", 0), 0u);
}

}  // namespace
}  // namespace medfuse::data
