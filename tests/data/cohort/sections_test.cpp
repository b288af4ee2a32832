#include "data/cohort/sections.h"

#include <gtest/gtest.h>

namespace medfuse::data {
namespace {

using Texts = std::vector<std::string>;

const Texts four = {"chief complaint", "history of present illness", "past medical history",
                    "medications on admission"};

TEST(Sections, DischargeSummary) {
  const std::string note =
      "Admission Date:  [**2152-5-11**]     Discharge Date: [**2152-5-17**]\n"
      "\n"
      "Service: MEDICINE\n"
      "\n"
      "Chief Complaint:\n"
      "Fever, dysuria\n"
      "\n"
      "Major Surgical or Invasive Procedure:\n"
      "None\n"
      "\n"
      "History of Present Illness:\n"
      "Mr. [**Known lastname 5**] came with fever. In the ED, initial vitals: BP 112/77.\n"
      "  At 10:30 he improved.\n"
      "\n"
      "On the floor, he was: comfortable.\n"
      "\n"
      "Past Medical History:\n"
      "1. Overweight\n"
      "2. COPD: on home O2\n"
      "\n"
      "Social History:\n"
      "Smoking: none\n"
      "\n"
      "Brief Hospital Course:\n"
      "Pneumonia.\n"
      "\n"
      "Medications on Admission:\n"
      "aspirin 81 mg\n"
      "\n"
      "Discharge Diagnosis:\n"
      "Pneumonia\n";
  EXPECT_EQ(SectionFinder(four).find(note),
            (Texts{"Fever, dysuria",
                   "Mr. ___ came with fever. In the ED, initial vitals: BP 112/77. At 10:30 he improved. On the floor, "
                   "he was: comfortable.",
                   "1. Overweight 2. COPD: on home O2", "aspirin 81 mg"}));
}

TEST(Sections, OlderDictations) {
  const std::string note =
      "CHIEF COMPLAINT:  Chest pain.\r\n"
      "\r\n"
      "HISTORY OF THE PRESENT ILLNESS:  This is a 57-year-old\r\n"
      "woman.\r\n"
      "PAST MEDICAL HISTORY:  1.  Hypertension.\r\n"
      "ALLERGIES:  None.\r\n"
      "ADMISSION MEDICATIONS:  Atenolol.\r\n"
      "PHYSICAL EXAMINATION:  Normal.\r\n"
      "HOSPITAL COURSE BY PROBLEM:  Myocardial infarction.\r\n";
  EXPECT_EQ(SectionFinder(four).find(note),
            (Texts{"Chest pain.", "This is a 57-year-old woman.", "1. Hypertension.", "Atenolol."}));
}

TEST(Sections, ShortNamesMarkersAndParentheses) {
  const std::string note =
      "CC: cough\nHPI (per resident):\nthree days\nPMH:\n\nCardiac: CAD\n# Home Meds:\nnone\n\n**Plan:** x\n";
  EXPECT_EQ(SectionFinder(four).find(note), (Texts{"cough", "three days", "Cardiac: CAD", "none"}));
}

TEST(Sections, LaterSectionsNeverLeak) {
  for (const char* header : {"Final Diagnosis: SECRET", "FINAL DIAGNOSES:\nSECRET", "Hospital Course\nSECRET",
                             "DISCHARGE DIAGNOSIS: SECRET", "  Discharge Diagnosis: SECRET", "Impression: SECRET",
                             "Unheard Of Header:\nSECRET", "\nUnheard of: SECRET", "RARE HEADER: SECRET"}) {
    const std::string note = std::string("History of Present Illness:\ncame in\n") + header + "\n";
    EXPECT_EQ(SectionFinder(four).find(note)[1], "came in") << header;
  }
}

TEST(Sections, FirstNonEmptyOneCounts) {
  const std::string note =
      "Chief Complaint:\n\nAllergies:\nnone\n\nChief Complaint:\nfirst\n\nChief Complaint:\nsecond\n";
  EXPECT_EQ(SectionFinder(four).find(note)[0], "first");
  EXPECT_EQ(SectionFinder(four).find(""), Texts(4));
}

TEST(Sections, NamesOfTheUser) {
  EXPECT_EQ(canonical_section("HPI"), "history of present illness");
  EXPECT_EQ(canonical_section(" Social  History "), "social history");
  EXPECT_EQ(SectionFinder({"Social History", "pmh"}).find("PMH:\nx\n\nSocial History:\nSmoking: no\n"),
            (Texts{"Smoking: no", "x"}));
}

}  // namespace
}  // namespace medfuse::data
