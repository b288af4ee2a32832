#include "src/train/schedule.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace medfuse::train {
namespace {

TEST(Schedule, WarmsUpThenFollowsACosine) {
  const ScheduleOptions options{2.0, 110, 10.0 / 110.0, 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(options, 0), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 4), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 9), 2.0);
  EXPECT_NEAR(learning_rate(options, 59), 1.1, 1e-12);  // half of the decay: mean of peak and end
  EXPECT_NEAR(learning_rate(options, 109), 0.2, 1e-12);
  EXPECT_NEAR(learning_rate(options, 1000), 0.2, 1e-12);
  for (std::int64_t step = 10; step < 110; ++step)
    EXPECT_LT(learning_rate(options, step), learning_rate(options, step - 1));
}

TEST(Schedule, WorksWithoutWarmupAndWithoutDecay) {
  EXPECT_NEAR(learning_rate({1.0, 2, 0.0, 0.5}, 0), 0.75, 1e-12);
  EXPECT_NEAR(learning_rate({1.0, 2, 0.0, 0.5}, 1), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate({1.0, 4, 1.0, 0.5}, 1), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate({1.0, 4, 1.0, 0.5}, 9), 1.0);
  EXPECT_NEAR(learning_rate({1.0, 1, 0.0, 0.5}, 0), 0.5, 1e-12);
}

TEST(Schedule, RefusesWhatMakesNoSense) {
  EXPECT_THROW(learning_rate({1.0, 0, 0.1, 0.1}, 0), std::logic_error);
  EXPECT_THROW(learning_rate({1.0, 9, 1.1, 0.1}, 0), std::logic_error);
  EXPECT_THROW(learning_rate({1.0, 9, 0.1, -1}, 0), std::logic_error);
  EXPECT_THROW(learning_rate({1.0, 9, 0.1, 0.1}, -1), std::logic_error);
}

}  // namespace
}  // namespace medfuse::train
