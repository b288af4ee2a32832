#include "src/evaluate/predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "tests/base/scratch.h"

namespace medfuse::evaluate {
namespace {

Predictions example() {
  Predictions p;
  p.diseases = {"Sepsis", "Diabetes, \"type 2\""};
  p.admissions = {200001, 200002};
  p.patients = {1, 2};
  p.probabilities = {0.25, 0.10000000149011612, 1, 1e-7};
  return p;
}

TEST(Predictions, AreOneRowPerAdmission) {
  const testing::Scratch folder;
  write_predictions(folder / "p.csv", example());
  EXPECT_EQ(read_file(folder / "p.csv"),
            "admission,Sepsis,\"Diabetes, \"\"type 2\"\"\"\n200001,0.25,0.1\n200002,1,1e-07\n");
  EXPECT_EQ(testing::mode(folder / "p.csv"), 0600u);
}

TEST(Predictions, BadOnesLeaveTheFileAlone) {
  const testing::Scratch folder;
  write_predictions(folder / "p.csv", example());
  const std::string before = read_file(folder / "p.csv");
  Predictions bad = example();
  bad.probabilities[3] = NAN;
  try {
    write_predictions(folder / "p.csv", bad);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numeric);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("admission 200002, disease 'Diabetes"));
  }
  EXPECT_EQ(read_file(folder / "p.csv"), before);
  EXPECT_THROW(write_predictions(folder / "none" / "p.csv", example()), Error);
}

}  // namespace
}  // namespace medfuse::evaluate
