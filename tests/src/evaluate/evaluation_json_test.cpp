#include "src/evaluate/evaluation_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "base/files.h"
#include "tests/base/scratch.h"
#include "tests/src/evaluate/synthetic.h"

namespace medfuse::evaluate {
namespace {

Evaluation example() {
  Predictions p = testing::synthetic(100, 3);
  p.diseases[1] = "Cœur";
  for (std::size_t n = 0; n < p.size(); ++n) p.labels[n * 3 + 2] = 0;
  Evaluation e;
  e.split = "test";
  e.samples = 100;
  e.patients = 50;
  e.stage = "fusion";
  e.step = 20;
  e.scores = score(p, {0.3, 0.4, 0.5});
  return e;
}

TEST(EvaluationJson, HasTheKeysThatScriptsRelyOn) {
  Evaluation e = example();
  const testing::Scratch folder;
  write_evaluation(folder / "evaluation.json", e);
  EXPECT_EQ(testing::mode(folder / "evaluation.json"), 0600u);
  const auto json = nlohmann::json::parse(read_file(folder / "evaluation.json"));
  EXPECT_EQ(json["macro_f1"].get<double>(), e.scores.macro_f1);
  EXPECT_EQ(json["micro_f1"].get<double>(), e.scores.micro_f1);
  EXPECT_EQ(json["macro_precision"].get<double>(), e.scores.macro_precision);
  EXPECT_EQ(json["macro_recall"].get<double>(), e.scores.macro_recall);
  EXPECT_EQ(json["accuracy"].get<double>(), e.scores.accuracy);
  EXPECT_EQ(json["macro_auroc"].get<double>(), *e.scores.macro_auroc);
  EXPECT_EQ(json["macro_auprc"].get<double>(), *e.scores.macro_auprc);
  EXPECT_EQ(json["threshold"]["Cœur"].get<double>(), 0.4);
  EXPECT_EQ(json["split"], "test");
  EXPECT_EQ(json["samples"], 100);
  EXPECT_TRUE(json["macro_f1_interval"].is_null());
  ASSERT_EQ(json["per_disease"].size(), 3u);
  for (const char* name : {"f1", "precision", "recall", "accuracy", "auroc", "auprc", "threshold"}) {
    EXPECT_TRUE(json["per_disease"]["Disease 1"][name].is_number()) << name;
  }
  EXPECT_TRUE(json["per_disease"]["Disease 3"]["auroc"].is_null());
  EXPECT_EQ(json["notes"].size(), 1u);
}

TEST(EvaluationTable, IsAligned) {
  Evaluation e = example();
  std::istringstream text(table(e));
  std::string line;
  std::vector<std::string> lines;
  while (std::getline(text, line)) lines.push_back(line);
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_EQ(lines[0], "test split: 100 samples of 50 patients, 3 diseases");
  EXPECT_THAT(lines[1], ::testing::StartsWith("disease"));
  EXPECT_THAT(lines[4], ::testing::StartsWith("Cœur"));
  EXPECT_EQ(lines[1].size(), lines[3].size());
  EXPECT_EQ(lines[4].size(), lines[3].size() + 1);  // œ takes two bytes and one column
  EXPECT_THAT(lines[5], ::testing::HasSubstr("  -  "));
  EXPECT_THAT(lines[7], ::testing::StartsWith("macro mean"));
  EXPECT_THAT(lines[9], ::testing::StartsWith("note: 'Disease 3' has no positive sample"));
}

}  // namespace
}  // namespace medfuse::evaluate
