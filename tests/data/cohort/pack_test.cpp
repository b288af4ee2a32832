// What lands in the packed files: text, labels, counts, HDF5 attributes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/hdf5.h"
#include "data/packed/info_json.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;
using ::testing::Contains;
using ::testing::HasSubstr;
using Bytes = std::vector<std::uint8_t>;

TEST(Pack, TextKeepsOnlyChosenSectionsOfChosenNotes) {
  const Scratch scratch;
  Hospital h;
  h.admit(1, 1);
  h.diagnose(1, "25000");
  h.note(1, "HPI:\nfrom nursing\n\nChief Complaint:\nnursing too\n", "Nursing");
  h.note(1, "HPI:\nfrom the ward\n\nChief Complaint:\nward\n\nHospital Course:\nSECRET\n", "Physician ");
  h.note(1, "History of Present Illness:\nday, \"\"quoted\"\"\nnext line\n\nDischarge Diagnosis:\nSECRET\n");
  h.note(1, "History of Present Illness:\naddendum\n");
  h.notes += "1,Discharge summary,1,\"Chief Complaint:\nwithdrawn\n\"\n";
  h.lab(1, 7, "4.20", "2150-01-01 13:00:00", "Abnormal");
  h.lab(1, 8, "140");
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.train_fraction = 1;
  options.validation_fraction = 0;
  options.categories = {"discharge summary", "PHYSICIAN"};
  options.sections = {"HPI", "chief complaint"};
  PackSummary summary = pack(options, byte_encoder());
  EXPECT_EQ(decode(sample_of(PackedReader(scratch / "out"), 1)),
            "History of present illness: day, \"quoted\" next line\nChief complaint: ward\n"
            "Abnormal labs: Lactate 4.2 mmol/L.");
  EXPECT_EQ(summary.tables.at(4).without_value, 1u);  // withdrawn
  EXPECT_EQ(summary.info.sections, (std::vector<std::string>{"history of present illness", "chief complaint"}));
  options.abnormal_labs = false;
  options.categories = {};
  options.tables.admissions_text = "diagnosis";
  pack(options, byte_encoder());
  EXPECT_EQ(decode(sample_of(PackedReader(scratch / "out"), 1)),
            "Reason for admission: CHEST PAIN\nHistory of present illness: from nursing\nChief complaint: nursing too");
}

TEST(Pack, LabelsSamplesAndCounts) {
  const Scratch scratch;
  Hospital h;
  for (int id = 1; id <= 6; ++id) h.admit(id, id);
  h.note(1, "Chief Complaint:\nx\n");
  h.lab(1, 7, "1");
  h.diagnose(1, "25001");
  h.diagnose(1, "V4281");    // not a prefix
  h.lab(2, 7, "2");          // no note
  h.diagnose(2, "40291");    // the prefix was written with quotes and dot
  h.note(3, "Chief Complaint:\ny\n");
  h.diagnose(3, "\"428.0\"");
  h.diagnose(3, "2500");
  h.note(4, "Hospital Course:\nnothing of admission\n");  // neither text nor lab
  h.diagnose(4, "25000");
  h.note(5, "Chief Complaint:\nz\n");                     // undiagnosed
  h.lab(6, 9, "NEG");                                     // no number
  h.diagnoses += "1,\n,25000\n";                          // no code; an out-patient
  h.labs += ",7,2150-01-01 10:00:00,1,1,mmol/L,\n";
  h.notes += ",Radiology,,\"text\"\n";
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.bad_rows = "stop";  // nothing here is bad
  options.train_fraction = 1;
  options.validation_fraction = 0;
  const PackSummary summary = pack(options, byte_encoder());
  const PackedReader reader(scratch / "out");
  EXPECT_EQ(std::vector<std::int64_t>(reader.admissions().begin(), reader.admissions().end()),
            (std::vector<std::int64_t>{1, 2, 3, 5}));
  EXPECT_EQ(reader.info().diseases, (std::vector<std::string>{"diabetes", "heart_failure"}));
  EXPECT_EQ(sample_of(reader, 1).labels, (Bytes{1, 0}));
  EXPECT_EQ(sample_of(reader, 2).labels, (Bytes{0, 1}));
  EXPECT_EQ(sample_of(reader, 3).labels, (Bytes{1, 1}));
  EXPECT_EQ(sample_of(reader, 5).labels, (Bytes{0, 0}));
  EXPECT_EQ(decode(sample_of(reader, 2)), "No notes.");
  EXPECT_EQ(summary.left_out, 2);
  EXPECT_EQ(summary.undiagnosed, 1);
  EXPECT_EQ(summary.with_notes, 3);
  EXPECT_EQ(summary.samples[0], 4);
  EXPECT_EQ(summary.positives[0], (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(summary.observed, 2);
  std::uint64_t outpatients = 0;
  for (const TableCount& table : summary.tables) {
    outpatients += table.without_admission;
    EXPECT_EQ(table.bad, 0u);
  }
  EXPECT_EQ(outpatients, 3u);
  const auto lines = format_summary(summary);
  EXPECT_THAT(lines, Contains(HasSubstr("4 samples of 6 admissions (2 left out")));
  EXPECT_THAT(lines, Contains(HasSubstr("label diabetes: 2 (50.0 %)")));
  EXPECT_THAT(lines, Contains(HasSubstr("1 without admission id")));
}

TEST(Pack, HeadersInLowerCaseAndCrlfGiveTheSame) {
  const Scratch scratch;
  Hospital h = Hospital::with(12);
  h.write(scratch / "a");
  for (std::string* table : {&h.admissions, &h.labs, &h.diagnoses, &h.items}) {
    const std::size_t end = table->find('\n');
    for (std::size_t i = 0; i < end; ++i) (*table)[i] = static_cast<char>(std::tolower((*table)[i]));
    std::string crlf;
    for (const char c : *table) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
    *table = crlf;
  }
  h.write(scratch / "b");
  pack(options_of(scratch / "a", scratch / "out-a"), byte_encoder());
  pack(options_of(scratch / "b", scratch / "out-b"), byte_encoder());
  EXPECT_EQ(read_file(scratch / "out-a/index.json"), read_file(scratch / "out-b/index.json"));
}

TEST(Pack, ShardsDescribeThemselves) {
  const Scratch scratch;
  Hospital::with(20).write(scratch / "in");
  PackSummary summary = pack(options_of(scratch / "in", scratch / "out"), byte_encoder());
  EXPECT_EQ(summary.shards, 3);
  const hdf5::File file = hdf5::File::open(scratch / "out/shard-00001.h5");
  EXPECT_EQ(file.int_attribute("version"), 3);
  EXPECT_EQ(file.strings_attribute("diseases"), (std::vector<std::string>{"diabetes", "heart_failure"}));
  EXPECT_THAT(file.strings_attribute("lab_names"), ::testing::UnorderedElementsAre("Lactate", "Sodium, serum"));
  EXPECT_EQ(file.strings_attribute("lab_units"), (std::vector<std::string>{"mmol/L", "mmol/L"}));
  EXPECT_EQ(file.string_attribute("tokenizer_fingerprint"), "00000000000000aa");
  EXPECT_EQ(file.doubles_attribute("lab_low").size(), 2u);
  EXPECT_EQ(file.shape("labs/values"), (std::vector<std::size_t>{8, 2}));
  EXPECT_EQ(file.read<std::int64_t>("admission").front(), 1008);
  EXPECT_EQ(file.read<std::int64_t>("tokens/offsets").size(), 9u);
  const auto arrays = read_index(scratch / "out/index.json").shards[1].arrays;
  EXPECT_EQ(arrays.size(), 8u);
  EXPECT_EQ(arrays.at("admission"), file.offset<std::int64_t>("admission"));
  EXPECT_EQ(arrays.at("tokens/values"), file.offset<std::int32_t>("tokens/values"));
  EXPECT_EQ(arrays.at("labs/values"), file.offset<float>("labs/values"));
  EXPECT_EQ(arrays.at("labels"), file.offset<std::uint8_t>("labels"));
}

TEST(Pack, TruncationIsCounted) {
  const Scratch scratch;
  Hospital::with(10).write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.max_tokens = 40;
  const PackSummary summary = pack(options, byte_encoder());
  EXPECT_EQ(summary.longest, 40);
  EXPECT_GT(summary.truncated, 0);
  EXPECT_LT(summary.truncated, 10);
}

TEST(Pack, WithoutNotesLabsOrLabels) {
  const Scratch scratch;
  Hospital::with(10).write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.tables.notes = "";
  EXPECT_THAT(decode(PackedReader((pack(options, byte_encoder()), scratch / "out")).sample(1)), HasSubstr("No notes."));
  options.tables.notes = "NOTEEVENTS";
  options.tables.labs = "";
  options.tables.diagnoses = "";
  pack(options, byte_encoder());
  const PackedReader reader(scratch / "out");
  EXPECT_TRUE(reader.info().labs.empty());
  EXPECT_FALSE(reader.info().has_labels);
  EXPECT_TRUE(reader.sample(0).labels.empty());
  EXPECT_EQ(decode(reader.sample(0)), "Chief complaint: fever 1000");
}

}  // namespace
}  // namespace medfuse::data
