#include "src/train/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "src/train/memory.h"

namespace medfuse::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProgressLine : public ::testing::Test {
 protected:
  ProgressOptions options(bool terminal, int width = 120) {
    ProgressOptions o;
    o.out = &out_;
    o.terminal = terminal;
    o.width = [width] { return width; };
    o.seconds = [this] { return now_; };
    o.memory = [] { return std::int64_t{1536} << 20; };
    return o;
  }
  /// What a terminal shows in its rows: \r goes back to the first column, ESC[K clears what follows.
  std::vector<std::string> rows() const {
    std::vector<std::string> shown = {""};
    std::size_t column = 0;
    const std::string text = out_.str();
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') {
        shown.emplace_back();
        column = 0;
      } else if (text[i] == '\r') {
        column = 0;
      } else if (text.compare(i, 3, "\x1b[K") == 0) {
        shown.back().resize(column);
        i += 2;
      } else {
        shown.back().resize(std::max(shown.back().size(), column + 1));
        shown.back()[column++] = text[i];
      }
    }
    return shown;
  }
  std::ostringstream out_;
  double now_ = 1000;
};

TEST_F(ProgressLine, ShowsStepRatesMemoryAndTimeLeft) {
  Progress progress(options(true));
  progress.begin("encoders", 0, 200);
  for (int i = 1; i <= 50; ++i) {
    now_ += 2;
    progress.update(i, 0.5, 32, 8192);
  }
  EXPECT_EQ(rows().size(), 1u);
  EXPECT_EQ(rows()[0],
            "encoders  50/200  25%  loss 0.5000  16 samples/s  4.1k tokens/s  mem 1.5 GiB  ETA 5m00s");
  progress.update(51, 0.5, 32, 8192, std::int64_t{3} << 30);
  now_ += 1;
  progress.finish();
  EXPECT_EQ(rows().size(), 2u);
  EXPECT_THAT(rows()[0], HasSubstr("51/200"));
  EXPECT_THAT(rows()[0], HasSubstr("gpu 3.0 GiB"));
  const std::string before = out_.str();
  progress.finish();
  EXPECT_EQ(out_.str(), before);
}

TEST_F(ProgressLine, NeverExceedsTheWidthOfTheTerminal) {
  for (int width = 1; width < 120; ++width) {
    out_.str("");
    Progress progress(options(true, width));
    progress.begin("encoders", 0, 2000);
    for (int i = 1; i <= 5; ++i) {
      now_ += 2;
      progress.update(i, 0.5, 32, 8192, 1 << 30);
    }
    EXPECT_LE(static_cast<int>(rows()[0].size()), std::max(1, width - 1)) << width;
    if (width > 45) {
      EXPECT_THAT(rows()[0], HasSubstr("ETA 1h06m"));
    }
  }
}

TEST_F(ProgressLine, ATerminalIsNotFlooded) {
  Progress progress(options(true));
  progress.begin("encoders", 0, 100000);
  for (int i = 1; i <= 10000; ++i) {
    now_ += 0.001;
    progress.update(i, 0.5, 1, 1);
  }
  const std::string text = out_.str();
  EXPECT_LE(std::count(text.begin(), text.end(), '\r'), 101);
  EXPECT_GE(std::count(text.begin(), text.end(), '\r'), 95);
}

TEST_F(ProgressLine, AFileGetsPlainLinesNowAndThen) {
  {
    Progress progress(options(false));
    progress.begin("fusion", 10, 60);
    for (int i = 11; i <= 60; ++i) {
      now_ += 1;
      progress.update(i, 0.25, 4, 0);
    }
  }
  EXPECT_THAT(out_.str(), Not(HasSubstr("\r")));
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
  std::istringstream text(out_.str());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 5u);  // every ten seconds, the last of them at the end
  EXPECT_EQ(lines[0], "fusion  20/60  33%  loss 0.2500  4.0 samples/s  mem 1.5 GiB  ETA 40s");
  EXPECT_EQ(lines[4], "fusion  60/60  100%  loss 0.2500  4.0 samples/s  mem 1.5 GiB  took 50s");
}

TEST_F(ProgressLine, TheEndIsShownThoughItComesEarly) {
  Progress progress(options(false));
  progress.begin("fusion", 0, 2);
  now_ += 1;
  progress.update(1, 0.5, 4, 0);
  now_ += 1;
  progress.update(2, 0.25, 4, 0);
  progress.finish();
  EXPECT_THAT(out_.str(), ::testing::StartsWith("fusion  2/2  100%  loss 0.2500"));
}

TEST_F(ProgressLine, TheRateFollowsAChangeOfSpeed) {
  Progress progress(options(true));
  progress.begin("encoders", 0, 100000);
  now_ += 60;  // a slow first step
  progress.update(1, 0.5, 10, 0);
  for (int i = 2; i <= 200; ++i) {
    now_ += 1;
    progress.update(i, 0.5, 10, 0);
  }
  EXPECT_THAT(rows()[0], HasSubstr("  10 samples/s"));
}

TEST_F(ProgressLine, MessagesStandOnLinesOfTheirOwn) {
  Progress progress(options(true));
  progress.message("before");
  progress.begin("encoders", 0, 10);
  now_ += 1;
  progress.update(1, 0.5, 4, 0);
  progress.message("checkpoint written");
  ASSERT_EQ(rows().size(), 3u);
  EXPECT_EQ(rows()[0], "before");
  EXPECT_EQ(rows()[1], "checkpoint written");
  EXPECT_THAT(rows()[2], ::testing::StartsWith("encoders  1/10"));
}

TEST_F(ProgressLine, OddNumbersDoNoHarm) {
  Progress progress(options(true));
  progress.begin("empty", 0, 0);
  progress.update(0, NAN, 0, 0);
  progress.finish();
  EXPECT_THAT(rows()[0], HasSubstr("loss nan"));
}

TEST(Memory, IsCounted) {
  const std::int64_t before = resident_bytes();
  EXPECT_GT(before, 1 << 20);
  std::string block(64 << 20, 'x');
  EXPECT_GE(resident_bytes(), before + (60 << 20));
  EXPECT_EQ(block[block.size() / 2], 'x');
  EXPECT_GE(peak_resident_bytes(), before + (60 << 20));
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1.0 KiB");
  EXPECT_EQ(format_bytes(std::int64_t{812} << 20), "812 MiB");
  EXPECT_EQ(format_bytes(std::int64_t{1434} << 20), "1.4 GiB");
  EXPECT_EQ(format_bytes(std::int64_t{36} << 30), "36 GiB");
}

}  // namespace
}  // namespace medfuse::train
