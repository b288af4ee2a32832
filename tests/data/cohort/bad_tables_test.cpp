// Tables that are broken: bad rows with both policies, and mistakes that are one clear error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

struct BadRow {
  std::string Hospital::*table;
  std::string row;
  std::string file;
  std::string reason;
};

const std::vector<BadRow> bad_rows = {
    {&Hospital::labs, "1000,7,2150-01-01 10:00:00,1,one,mmol/L,", "LABEVENTS.csv", "number"},
    {&Hospital::labs, "1000,7,2150-01-01 10:00:00,1,nan,mmol/L,", "LABEVENTS.csv", "number"},
    {&Hospital::labs, "1000,x7,2150-01-01 10:00:00,1,1,mmol/L,", "LABEVENTS.csv", "item id"},
    {&Hospital::labs, "1000,7,yesterday,1,1,mmol/L,", "LABEVENTS.csv", "time"},
    {&Hospital::labs, "99999,7,2150-01-01 10:00:00,1,1,mmol/L,", "LABEVENTS.csv", "unknown admission"},
    {&Hospital::labs, "SECRET,7,2150-01-01 10:00:00,1,1,mmol/L,", "LABEVENTS.csv", "admission id"},
    {&Hospital::labs, "1000,7,2150-01-01 10:00:00", "LABEVENTS.csv", "cells"},
    {&Hospital::labs, "1000,7,2150-01-01 10:00:00,1,1,mmol/L,,surplus", "LABEVENTS.csv", "cells"},
    {&Hospital::labs, "1000,7,2150-01-01 10:00:00,1,1,\xb5g/L,", "LABEVENTS.csv", "UTF-8"},
    {&Hospital::notes, "99999,Discharge summary,,SECRET", "NOTEEVENTS.csv.gz", "unknown admission"},
    {&Hospital::notes, "1000,Discharge summary,,SECRET caf\xe9", "NOTEEVENTS.csv.gz", "UTF-8"},
    {&Hospital::notes, "1000,Discharge summary", "NOTEEVENTS.csv.gz", "cells"},
    {&Hospital::diagnoses, "99999,25000", "DIAGNOSES_ICD.csv", "unknown admission"},
    {&Hospital::admissions, "x,5,2150-01-01 10:00:00,", "ADMISSIONS.csv", "admission id"},
    {&Hospital::admissions, "7000,,2150-01-01 10:00:00,", "ADMISSIONS.csv", "patient id"},
    {&Hospital::admissions, "7000,5,,", "ADMISSIONS.csv", "time of admission"},
    {&Hospital::admissions, "1000,5,2150-01-01 10:00:00,", "ADMISSIONS.csv", "already"},
    {&Hospital::items, "x7,Lactate", "D_LABITEMS.csv", "item id"},
    {&Hospital::diseases, ",250", "diseases.csv", "empty"},
};

TEST(BadTables, EachBadRowIsSkippedAndReportedOrStops) {
  for (const BadRow& bad : bad_rows) {
    const Scratch scratch;
    Hospital h = Hospital::with(20);
    h.write(scratch / "good");
    h.*bad.table += bad.row + "\n";
    h.write(scratch / "in");
    PackOptions options = options_of(scratch / "good", scratch / "expected");
    options.window_hours = 48;
    pack(options, byte_encoder());
    options.input = scratch / "in";
    options.output = scratch / "out";
    std::vector<std::string> log;
    PackReporter reporter;
    reporter.log = [&](const std::string& line) { log.push_back(line); };
    const PackSummary summary = pack(options, byte_encoder(), {}, reporter);
    EXPECT_THAT(log, Contains(AllOf(HasSubstr(bad.file), HasSubstr(": row "), HasSubstr(bad.reason)))) << bad.row;
    EXPECT_THAT(log, Not(Contains(HasSubstr("SECRET"))));
    std::uint64_t count = 0;
    for (const TableCount& table : summary.tables) count += table.bad;
    EXPECT_EQ(count, 1u) << bad.row;
    EXPECT_EQ(read_file(scratch / "out/index.json"), read_file(scratch / "expected/index.json")) << bad.row;
    options.bad_rows = "stop";
    EXPECT_THAT(error_of([&] { pack(options, byte_encoder()); }),
                AllOf(HasSubstr(bad.file), HasSubstr(": row "), HasSubstr(bad.reason), HasSubstr("bad_rows = skip"),
                      Not(HasSubstr("SECRET"))))
        << bad.row;
  }
}

/// Error of packing a hospital that `change` has spoilt; `tweak` changes the options.
std::string error_with(const std::function<void(Hospital&)>& change,
                       const std::function<void(PackOptions&)>& tweak = [](PackOptions&) {},
                       const std::string& remove = "", ExitCode code = ExitCode::data) {
  const Scratch scratch;
  Hospital h = Hospital::with(20);
  change(h);
  h.write(scratch / "in");
  if (!remove.empty()) std::filesystem::remove(scratch / "in" / remove);
  PackOptions options = options_of(scratch / "in", scratch / "out");
  tweak(options);
  const std::string error = error_of([&] { pack(options, byte_encoder()); }, code);
  EXPECT_FALSE(std::filesystem::exists(scratch / "out/index.json"));
  return error;
}

TEST(BadTables, MissingTables) {
  const auto nothing = [](Hospital&) {};
  const auto same = [](PackOptions&) {};
  EXPECT_THAT(error_with(nothing, same, "ADMISSIONS.csv"),
              AllOf(HasSubstr("ADMISSIONS.csv"), HasSubstr("tables.admissions")));
  EXPECT_THAT(error_with(nothing, same, "NOTEEVENTS.csv.gz"),
              AllOf(HasSubstr("NOTEEVENTS"), HasSubstr("tables.notes")));
  EXPECT_THAT(error_with(nothing, same, "LABEVENTS.csv"), HasSubstr("tables.labs"));
  EXPECT_THAT(error_with(nothing, same, "DIAGNOSES_ICD.csv"), HasSubstr("tables.diagnoses"));
  EXPECT_THAT(error_with(nothing, same, "D_LABITEMS.csv"), HasSubstr("tables.items"));
  EXPECT_THAT(error_with(nothing, same, "diseases.csv"),
              AllOf(HasSubstr("diseases.csv"), HasSubstr("correct diseases")));
}

TEST(BadTables, MissingColumns) {
  const auto nothing = [](Hospital&) {};
  EXPECT_THAT(error_with(nothing, [](PackOptions& o) { o.tables.labs_item = "CODE"; }),
              AllOf(HasSubstr("LABEVENTS.csv"), HasSubstr("column CODE"), HasSubstr("tables.labs.item")));
  EXPECT_THAT(error_with(nothing, [](PackOptions& o) { o.tables.notes_text = "BODY"; }),
              HasSubstr("tables.notes.text"));
  EXPECT_THAT(error_with(nothing, [](PackOptions& o) { o.tables.labs_number = o.tables.labs_value = "NONE"; }),
              AllOf(HasSubstr("LABEVENTS.csv"), HasSubstr("tables.labs.value")));
  EXPECT_THAT(error_with(nothing, [](PackOptions& o) { o.tables.labs_time = ""; }, "", ExitCode::usage),
              HasSubstr("tables.labs.time"));
}

TEST(BadTables, ColumnsThatAreNotUsedMayBeAbsent) {
  const Scratch scratch;
  Hospital h;
  h.admissions = "hadm_id,subject_id\n1,1\n";
  h.labs = "hadm_id,itemid,value\n1,7,3\n";
  h.notes = "hadm_id,text\n1,\"Chief Complaint: x\"\n";
  h.diagnose(1, "250");
  h.write(scratch / "in");
  PackOptions options = options_of(scratch / "in", scratch / "out");
  options.lab_value = "mean";
  options.abnormal_labs = false;
  options.categories = {};
  options.train_fraction = 1;
  options.validation_fraction = 0;
  EXPECT_EQ(pack(options, byte_encoder()).info.samples, 1);
}

TEST(BadTables, TablesThatHoldNothing) {
  EXPECT_THAT(error_with([](Hospital& h) { h.labs = ""; }), AllOf(HasSubstr("LABEVENTS.csv"), HasSubstr("empty")));
  EXPECT_THAT(error_with([](Hospital& h) { h.notes = "HADM_ID,CATEGORY,TEXT\n"; }), HasSubstr("no data row"));
  EXPECT_THAT(error_with([](Hospital& h) { h.diseases = "disease,icd9_prefix\n"; }), HasSubstr("diseases.csv"));
  EXPECT_THAT(error_with([](Hospital& h) { h.diseases = "disease,icd9_prefix\n,\n"; }), HasSubstr("names no disease"));
  EXPECT_THAT(error_with([](Hospital& h) { h.diseases = "disease,icd9_prefix\nrare,999\n"; }), HasSubstr("prefixes"));
  EXPECT_THAT(error_with([](Hospital& h) { h.admissions = "HADM_ID,SUBJECT_ID,ADMITTIME,DIAGNOSIS\nx,1,,\n"; }),
              AllOf(HasSubstr("ADMISSIONS.csv"), HasSubstr("not one row")));
  EXPECT_THAT(error_with([](Hospital&) {}, [](PackOptions& o) { o.sections = {"diet"}; }), HasSubstr("text.sections"));
}

TEST(BadTables, OptionsThatCannotBe) {
  const auto usage = [](const std::function<void(PackOptions&)>& tweak) {
    return error_with([](Hospital&) {}, tweak, "", ExitCode::usage);
  };
  EXPECT_THAT(usage([](PackOptions& o) { o.lab_value = "median"; }), HasSubstr("labs.value"));
  EXPECT_THAT(usage([](PackOptions& o) { o.window_hours = -1; }), HasSubstr("labs.window_hours"));
  EXPECT_THAT(usage([](PackOptions& o) { o.bad_rows = "ignore"; }), HasSubstr("bad_rows"));
  EXPECT_THAT(usage([](PackOptions& o) { o.train_fraction = 0.95; }), HasSubstr("split.train"));
  EXPECT_THAT(usage([](PackOptions& o) { o.sections = {"hpi", "present illness"}; }), HasSubstr("twice"));
  EXPECT_THAT(usage([](PackOptions& o) { o.diseases = ""; }), HasSubstr("diseases"));
  EXPECT_THAT(usage([](PackOptions& o) { o.lab_items = {"lactate"}; }), HasSubstr("labs.items"));
  EXPECT_THAT(usage([](PackOptions& o) { o.max_tokens = 1; }), HasSubstr("text.max_tokens"));
}

}  // namespace
}  // namespace medfuse::data
