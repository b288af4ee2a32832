#include "src/train/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "tests/base/scratch.h"

namespace medfuse::train {
namespace {

const std::vector<std::string> kStages = {"encoders", "fusion"};

StepMetrics step(const std::string& stage, std::int64_t number) {
  StepMetrics metrics;
  metrics.stage = stage;
  metrics.step = number;
  metrics.epoch = 0.25;
  metrics.loss = 0.1;
  metrics.more = {{"lab_loss", 2}, {"club", NAN}};
  return metrics;
}

TEST(MetricsLog, WritesOneObjectALineAtOnce) {
  const testing::Scratch folder;
  const auto path = folder / "metrics.jsonl";
  MetricsLog log(path);
  StepMetrics metrics = step("encoders", 1);
  metrics.grad_norm = INFINITY;
  log.append(metrics);
  EXPECT_EQ(read_file(path),
            "{\"stage\":\"encoders\",\"step\":1,\"epoch\":0.25,\"loss\":0.1,\"learning_rate\":0.0,\"grad_norm\":null,"
            "\"tokens_per_second\":0.0,\"samples_per_second\":0.0,\"seconds\":0.0,\"lab_loss\":2.0,\"club\":null}\n");
  EXPECT_EQ(testing::mode(path), 0600u);
  log.append(step("encoders", 2));
  MetricsLog(path).append(step("encoders", 3));  // a resumed run appends
  std::istringstream lines(read_file(path));
  std::string line;
  for (int i = 1; std::getline(lines, line); ++i) EXPECT_EQ(nlohmann::json::parse(line)["step"], i);
}

TEST(MetricsLog, NumbersComeBackExactly) {
  const testing::Scratch folder;
  StepMetrics metrics = step("fusion", 1);
  metrics.loss = 1.0 / 3;
  MetricsLog(folder / "m").append(metrics);
  EXPECT_EQ(nlohmann::json::parse(read_file(folder / "m"))["loss"].get<double>(), 1.0 / 3);
}

class CutBack : public ::testing::Test {
 protected:
  CutBack() {
    MetricsLog log(path_);
    for (const auto& stage : kStages) {
      for (int i = 1; i <= 3; ++i) log.append(step(stage, i));
    }
  }
  std::vector<std::string> left() {
    std::vector<std::string> result;
    std::istringstream lines(read_file(path_));
    std::string line;
    while (std::getline(lines, line)) {
      const auto json = nlohmann::json::parse(line);
      result.push_back(json["stage"].get<std::string>() + " " + std::to_string(json["step"].get<int>()));
    }
    return result;
  }
  testing::Scratch folder_;
  std::filesystem::path path_ = folder_ / "metrics.jsonl";
};

TEST_F(CutBack, DropsLaterStepsAndStages) {
  cut_back_metrics(path_, kStages, "fusion", 2);
  EXPECT_THAT(left(), ::testing::ElementsAre("encoders 1", "encoders 2", "encoders 3", "fusion 1", "fusion 2"));
  cut_back_metrics(path_, kStages, "encoders", 1);
  EXPECT_THAT(left(), ::testing::ElementsAre("encoders 1"));
  EXPECT_EQ(testing::mode(path_), 0600u);
  cut_back_metrics(path_, kStages, "encoders", 0);
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(CutBack, DropsATornLineAndKeepsTheRestByteForByte) {
  const std::string whole = read_file(path_);
  std::ofstream(path_, std::ios::app) << "{\"stage\":\"fusion\",\"step\":3,\"lo";
  EXPECT_EQ(cut_back_metrics(path_, kStages, "fusion", 3), 0);
  EXPECT_EQ(read_file(path_), whole);
  // Torn where it is a whole object but for the newline, and with NULs as a crashed disk leaves them.
  std::ofstream(path_, std::ios::app) << "{\"stage\":\"fusion\",\"step\":3}";
  cut_back_metrics(path_, kStages, "fusion", 3);
  EXPECT_EQ(read_file(path_), whole);
  std::ofstream(path_, std::ios::app) << std::string(100, '\0') << "\n17\n{\"step\":1}\n";
  EXPECT_EQ(cut_back_metrics(path_, kStages, "fusion", 3), 3);
  EXPECT_EQ(read_file(path_), whole);
}

TEST_F(CutBack, TheLogGoesOnAfterwards) {
  std::ofstream(path_, std::ios::app) << "{\"stage\":\"fu";
  cut_back_metrics(path_, kStages, "fusion", 1);
  MetricsLog(path_).append(step("fusion", 2));
  EXPECT_THAT(left(), ::testing::ElementsAre("encoders 1", "encoders 2", "encoders 3", "fusion 1", "fusion 2"));
}

TEST_F(CutBack, LeavesAMissingFileMissing) {
  cut_back_metrics(folder_ / "none", kStages, "encoders", 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none"));
  EXPECT_THROW(cut_back_metrics(path_, kStages, "other", 0), std::logic_error);
}

TEST(MetricsLog, SaysWhereItCannotWrite) {
  const testing::Scratch folder;
  try {
    MetricsLog log(folder / "none" / "metrics.jsonl");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("metrics.jsonl"));
  }
  MetricsLog full("/dev/full");
  EXPECT_THROW(full.append(step("encoders", 1)), Error);
}

}  // namespace
}  // namespace medfuse::train
