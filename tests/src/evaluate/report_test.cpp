#include "src/evaluate/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "src/evaluate/training_curves.h"
#include "tests/base/scratch.h"
#include "tests/src/evaluate/synthetic.h"

namespace medfuse::evaluate {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// The first tag that is opened and not closed, or closed and not opened; empty where all are balanced.
std::string unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    if (html.compare(at, 9, "<!DOCTYPE") == 0) continue;
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return "an unfinished tag";
    const bool closes = html[at + 1] == '/';
    const std::size_t from = at + 1 + closes;
    const std::string name = html.substr(from, html.find_first_of(" \n/>", from) - from);
    if (closes) {
      if (open.empty() || open.back() != name) return "</" + name + ">";
      open.pop_back();
    } else if (html[end - 1] != '/') {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "<" + open.back() + ">";
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

class Report : public ::testing::Test {
 protected:
  Report() : predictions_(testing::synthetic(400, 3)) {
    predictions_.diseases = {"Sepsis", "Heart <failure> & 'x' `touch pwned`", "Absent"};
    for (std::size_t n = 0; n < predictions_.size(); ++n) predictions_.labels[n * 3 + 2] = 0;
    evaluation_.split = "test";
    evaluation_.samples = 400;
    evaluation_.patients = 200;
    evaluation_.stage = "fusion";
    evaluation_.step = 40;
    evaluation_.scores = score(predictions_, choose_thresholds(predictions_));
    options_.metrics = folder_ / "metrics.jsonl";
  }

  void write_metrics() {
    std::ofstream file(options_.metrics);
    for (const char* stage : {"encoders", "fusion"}) {
      for (int step = 1; step <= 40; ++step) {
        file << "{\"stage\":\"" << stage << "\",\"step\":" << step << ",\"epoch\":0.5,\"loss\":" << 1.0 / step
             << ",\"learning_rate\":2e-4,\"grad_norm\":" << (step == 3 ? "null" : "0.7")
             << ",\"lab_loss\":0.1,\"tokens_per_second\":900,\"samples_per_second\":3.5,\"seconds\":1}\n";
      }
    }
    file << "{\"stage\":\"fusion\",\"step\":41,\"lo";  // torn by a kill
  }

  std::string write() {
    warning_ = write_report(folder_ / "report.html", evaluation_, predictions_, options_);
    return read_file(folder_ / "report.html");
  }

  testing::Scratch folder_;
  Predictions predictions_;
  Evaluation evaluation_;
  ReportOptions options_;
  std::string warning_;
};

TEST_F(Report, HasEverySectionAndIsWellFormed) {
  write_metrics();
  const std::string html = write();
  EXPECT_EQ(warning_, "");
  EXPECT_EQ(unbalanced(html), "");
  EXPECT_EQ(testing::mode(folder_ / "report.html"), 0600u);
  for (const char* id : {"scores", "roc", "precision-recall", "calibration", "training", "definitions"}) {
    EXPECT_EQ(count(html, std::string("<section id=\"") + id + "\">"), 1u) << id;
  }
  // ROC and precision-recall of two diseases, calibration of three; two stages with six figures each; the markers.
  EXPECT_EQ(count(html, "<svg"), 2u + 2 + 3 + 2 * 6 + 1);
  EXPECT_EQ(count(html, "AUROC undefined"), 1u);
  EXPECT_THAT(html, HasSubstr("Stage encoders"));
  EXPECT_THAT(html, HasSubstr("400 samples of 200 patients"));
}

TEST_F(Report, StandsAloneAndEscapesNames) {
  write_metrics();
  const std::string html = write();
  EXPECT_THAT(html, HasSubstr("Heart &lt;failure&gt; &amp; &#39;x&#39;"));
  EXPECT_THAT(html, Not(HasSubstr("<failure>")));
  for (const char* outside : {"<script", "src=", "href=\"http", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
  // Nothing that would not turn with a dark page.
  const std::string pictures = html.substr(html.find("<svg"));
  for (const char* fixed : {"white", "black", "font-family", "rgb(1,2,3)", "rgb(  1,   2,   3)"}) {
    EXPECT_THAT(pictures, Not(HasSubstr(std::string("='") + fixed))) << fixed;
    EXPECT_THAT(pictures, Not(HasSubstr(std::string("=\"") + fixed))) << fixed;
  }
  EXPECT_THAT(html, Not(HasSubstr("100007")));  // an admission
}

TEST_F(Report, IsTheSameEveryTime) {
  write_metrics();
  const std::string first = write();
  EXPECT_EQ(first, write());
}

TEST_F(Report, WithoutGnuplotKeepsItsTables) {
  options_.gnuplot = "no-such-gnuplot";
  const std::string html = write();
  EXPECT_THAT(warning_, ::testing::StartsWith("report without pictures: cannot start 'no-such-gnuplot'"));
  EXPECT_THAT(warning_, HasSubstr("install gnuplot"));
  EXPECT_EQ(warning_.find('\n'), std::string::npos);
  EXPECT_EQ(unbalanced(html), "");
  EXPECT_EQ(count(html, "<svg"), 0u);
  EXPECT_THAT(html, HasSubstr("This report has no pictures"));
  EXPECT_THAT(html, HasSubstr("<table>"));
}

TEST_F(Report, AFailingGnuplotIsNoCrash) {
  options_.gnuplot = "false";
  write();
  EXPECT_THAT(warning_, HasSubstr("'false' failed"));
  options_.gnuplot = "true";  // ends well and draws nothing
  write();
  EXPECT_THAT(warning_, HasSubstr("unfinished"));
}

TEST_F(Report, WithoutMetricsSaysSo) {
  EXPECT_THAT(write(), HasSubstr("no metrics.jsonl"));
  EXPECT_EQ(warning_, "");
}

TEST_F(Report, DrawsOneSampleAndOneStep) {
  predictions_ = testing::synthetic(1, 1);
  evaluation_.scores = score(predictions_, {0.5});
  std::ofstream(options_.metrics) << "{\"stage\":\"encoders\",\"step\":1,\"loss\":0}\n";
  const std::string html = write();
  EXPECT_EQ(warning_, "");
  EXPECT_EQ(unbalanced(html), "");
}

TEST_F(Report, UnwritableFolderIsAnError) {
  EXPECT_THROW(write_report(folder_ / "none" / "report.html", evaluation_, predictions_, options_), Error);
}

TEST(TrainingCurves, PassOverNullsAndTornLines) {
  const testing::Scratch folder;
  std::ofstream(folder / "m.jsonl") << "{\"stage\":\"a\",\"step\":1,\"loss\":2}\nrubbish\n"
                                       "{\"stage\":\"a\",\"step\":2,\"loss\":null}\n"
                                       "{\"stage\":\"a\",\"step\":3,\"loss\":1}\n"
                                       "{\"stage\":\"b\",\"step\":1,\"loss\":5,\"note\":\"x\"}\n[1]\n{\"stage\":\"b\",";
  const auto curves = read_training_curves(folder / "m.jsonl");
  ASSERT_EQ(curves.size(), 2u);
  ASSERT_EQ(curves[0].points.size(), 2u);
  EXPECT_EQ(curves[0].points[1].x, 3);
  EXPECT_EQ(curves[1].stage, "b");
  EXPECT_TRUE(read_training_curves(folder / "none").empty());
}

TEST(TrainingCurves, MeansKeepALineWhereItIs) {
  std::vector<Point> line;
  for (int i = 0; i < 1000; ++i) line.push_back({static_cast<double>(i), 2.0 * i});
  for (const Point& p : bucketed(line, 100)) EXPECT_DOUBLE_EQ(p.y, 2 * p.x);
  EXPECT_EQ(bucketed(line, 100).size(), 100u);
  for (const Point& p : smoothed(line, 51)) EXPECT_NEAR(p.y, 2 * p.x, 1e-9);
  EXPECT_EQ(smoothed({{1, 5}}, 9)[0].y, 5);
  EXPECT_TRUE(smoothed({}, 9).empty());
}

}  // namespace
}  // namespace medfuse::evaluate
