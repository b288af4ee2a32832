#include "data/cohort/labs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/cohort/columns.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;
using ::testing::HasSubstr;

/// One training patient with results in mixed order and an equal time; another one that spans the scale 0 to 100.
Hospital example() {
  Hospital h;
  h.admit(1, 1);
  h.note(1, "Chief Complaint:\nx\n");
  h.diagnose(1, "25000");
  h.lab(1, 7, "30", "2150-01-02 10:00:00", "abnormal");
  h.lab(1, 7, "10", "2150-01-01 10:00:00", "abnormal");   // before the admission, from the emergency department
  h.lab(1, 7, "20", "2150-01-01 10:00:00");                // same time as the one above
  h.lab(1, 7, "60", "2150-01-03 10:00:00", "abnormal");
  h.lab(1, 7, "50", "2150-01-03 10:00:00");
  h.lab(1, 9, "NEG", "2150-01-01 13:00:00", "abnormal", "");
  h.lab(1, 9, "POS", "2150-01-02 13:00:00", "abnormal", "");
  h.admit(2, 1);
  h.lab(2, 7, "0");
  h.admit(3, 1);
  h.lab(3, 7, "100");
  return h;
}

struct Seen {
  float lab;
  std::string text;
};

Seen pack_value(const std::string& value, double window) {
  const Scratch scratch;
  example().write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.lab_value = value;
  options.window_hours = window;
  options.train_fraction = 1;
  options.validation_fraction = 0;
  pack(options, byte_encoder());
  const PackedReader reader(scratch / "out");
  EXPECT_EQ(reader.info().labs.at(0).low, 0);
  EXPECT_EQ(reader.info().labs.at(0).high, 100);
  const Sample sample = sample_of(reader, 1);
  return {sample.labs.at(0), decode(sample)};
}

TEST(Labs, ValueChoices) {
  EXPECT_FLOAT_EQ(pack_value("first", 0).lab, 0.10f);  // the first row of that time
  EXPECT_FLOAT_EQ(pack_value("last", 0).lab, 0.50f);   // the last row of that time
  EXPECT_FLOAT_EQ(pack_value("min", 0).lab, 0.10f);
  EXPECT_FLOAT_EQ(pack_value("max", 0).lab, 0.60f);
  EXPECT_FLOAT_EQ(pack_value("mean", 0).lab, 0.34f);
}

TEST(Labs, WindowFromAdmission) {
  EXPECT_FLOAT_EQ(pack_value("last", 24).lab, 0.30f);
  EXPECT_FLOAT_EQ(pack_value("max", 1).lab, 0.20f);
  EXPECT_FLOAT_EQ(pack_value("mean", 1).lab, 0.15f);
}

TEST(Labs, AbnormalOnesAsTextByTheSameChoice) {
  EXPECT_EQ(pack_value("first", 0).text, "Chief complaint: x\nAbnormal labs: Lactate 10 mmol/L; Culture NEG.");
  EXPECT_EQ(pack_value("last", 0).text, "Chief complaint: x\nAbnormal labs: Lactate 60 mmol/L; Culture POS.");
  EXPECT_EQ(pack_value("mean", 0).text, "Chief complaint: x\nAbnormal labs: Lactate 33.3333 mmol/L; Culture NEG.");
  EXPECT_EQ(pack_value("max", 24).text, "Chief complaint: x\nAbnormal labs: Lactate 30 mmol/L; Culture NEG.");
}

TEST(Labs, ScalingIsFittedToTrainingOnly) {
  const Scratch scratch;
  Hospital h;
  // Patients whose split is known from the file.
  for (int patient = 1; patient <= 4; ++patient) {
    h.admit(patient, patient);
    h.note(patient, "Chief Complaint:\nx\n");
    h.diagnose(patient, "25000");
  }
  h.lab(1, 7, "10");
  h.lab(2, 7, "20");
  h.lab(3, 7, "1000");  // validation: beyond the scale
  h.lab(4, 7, "5");     // test: below the scale
  h.lab(1, 8, "140");   // constant
  h.lab(2, 8, "140");
  h.lab(3, 8, "140.5");
  h.lab(3, 9, "1");     // never measured in training: no column
  h.lab(4, 9, "1");
  h.write(scratch / "in");
  write_plain(scratch / "in/s.csv", "subject_id,split\n1,train\n2,train\n3,validation\n4,test\n");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.split_file = "s.csv";
  pack(options, byte_encoder());
  const PackedReader reader(scratch / "out");
  ASSERT_EQ(reader.info().labs.size(), 2u);
  const LabColumn& lactate = reader.info().labs[0];
  EXPECT_EQ(lactate.item, 7);
  EXPECT_EQ(lactate.name, "Lactate");
  EXPECT_EQ(lactate.unit, "mmol/L");
  EXPECT_EQ(lactate.low, 10);
  EXPECT_EQ(lactate.high, 20);
  EXPECT_EQ(reader.info().labs[1].name, "Sodium, serum");  // no line break
  EXPECT_EQ(reader.info().labs[1].low, 140);
  EXPECT_EQ(reader.info().labs[1].high, 141);
  EXPECT_EQ(sample_of(reader, 1).labs, (std::vector<float>{0.f, 0.f}));
  EXPECT_EQ(sample_of(reader, 2).labs, (std::vector<float>{1.f, 0.f}));
  EXPECT_EQ(sample_of(reader, 3).labs, (std::vector<float>{2.f, 0.5f}));  // 99 is held at 2
  EXPECT_EQ(sample_of(reader, 4).labs, (std::vector<float>{-0.5f, 0.f}));
  EXPECT_EQ(sample_of(reader, 4).observed, (std::vector<std::uint8_t>{1, 0}));
}

TEST(Labs, ColumnsAreTheMostMeasuredOrTheNamedOnes) {
  const Scratch scratch;
  Hospital h;
  for (int id = 1; id <= 4; ++id) {
    h.admit(id, 1);
    h.note(id, "Chief Complaint:\nx\n");
    h.diagnose(id, "25000");
    h.lab(id, 9, std::to_string(id));
    h.lab(id, 9, std::to_string(id));  // twice in an admission counts once
    if (id <= 2) h.lab(id, 8, std::to_string(id));
    if (id <= 2) h.lab(id, 7, std::to_string(id));
    if (id == 1) {
      for (int i = 0; i < 9; ++i) h.lab(id, 6, "1");
    }
  }
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.train_fraction = 1;
  options.validation_fraction = 0;
  const auto items = [&] {
    std::vector<std::int64_t> ids;
    for (const LabColumn& column : pack(options, byte_encoder()).info.labs) ids.push_back(column.item);
    return ids;
  };
  options.lab_count = 3;
  EXPECT_EQ(items(), (std::vector<std::int64_t>{9, 7, 8}));  // a tie goes by id
  options.lab_count = 64;
  EXPECT_EQ(items(), (std::vector<std::int64_t>{9, 7, 8, 6}));
  options.lab_items = {"6", "8"};
  EXPECT_EQ(items(), (std::vector<std::int64_t>{6, 8}));
  options.lab_items = {"6", "5"};
  EXPECT_THAT(error_of(items), HasSubstr("labs.items"));
}

TEST(Labs, WordsInTheNumberColumnsPlaceAreNormal) {
  const Scratch scratch;
  Hospital h = example();
  h.labs += "1,7,2150-01-04 10:00:00,>100,,mmol/L,\n2,7,2150-01-04 10:00:00,40,,mmol/L,\n";
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.bad_rows = "stop";
  options.train_fraction = 1;
  options.validation_fraction = 0;
  const PackSummary summary = pack(options, byte_encoder());
  EXPECT_EQ(summary.tables.at(3).file, "LABEVENTS.csv");
  EXPECT_EQ(summary.tables.at(3).without_value, 3u);  // NEG, POS, >100
  const PackedReader reader(scratch / "out");
  EXPECT_EQ(sample_of(reader, 2).labs.at(0), 0.f);  // VALUE serves where VALUENUM is empty: low is 40 now
  EXPECT_EQ(reader.info().labs.at(0).low, 40);
}

}  // namespace
}  // namespace medfuse::data
