#include "src/checkpoint/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

namespace medfuse::checkpoint {
namespace {

HeldBlock whole(const std::string& name, Shape shape) {
  return {{name, at::kFloat, shape}, {Shape(shape.size(), 0), shape}};
}

std::int64_t bytes_of(const std::vector<HeldBlock>& held, const std::vector<Assignment>& own) {
  std::int64_t bytes = 0;
  for (const Assignment& a : own) {
    const Shape& extent = held[a.block].box.extent;
    bytes += 4 * volume(extent).value() / (extent.empty() ? 1 : extent[0]) * (a.end - a.begin);
  }
  return bytes;
}

TEST(Plan, SpreadsReplicasEvenly) {
  std::vector<HeldBlock> blocks = {whole("large", {4000, 1000}), whole("scalar", {}), whole("none", {0, 3})};
  for (int i = 0; i < 40; ++i) blocks.push_back(whole("small" + std::to_string(i), {10 + i, 30}));
  for (std::size_t ranks = 1; ranks <= 4; ++ranks) {
    const std::vector<std::vector<HeldBlock>> held(ranks, blocks);
    const Plan plan = make_plan(held);
    EXPECT_EQ(plan.tensors.size(), blocks.size());
    std::int64_t total = 0, most = 0;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const std::int64_t own = bytes_of(blocks, plan.assignments[rank]);
      total += own;
      most = std::max(most, own);
    }
    EXPECT_EQ(total, bytes_of(blocks, make_plan({blocks}).assignments[0]));  // everything once
    EXPECT_LE(static_cast<double>(most), 1.02 * static_cast<double>(total) / static_cast<double>(ranks));
  }
}

TEST(Plan, ABlockIsWrittenByOneThatHoldsIt) {
  const HeldBlock top{{"w", at::kFloat, {8, 2}}, {{0, 0}, {3, 2}}}, rest{{"w", at::kFloat, {8, 2}}, {{3, 0}, {5, 2}}};
  const Plan plan = make_plan({{top}, {rest}, {top}});
  EXPECT_EQ(plan.assignments[0].size() + plan.assignments[2].size(), 1u);
  ASSERT_EQ(plan.assignments[1].size(), 1u);
  EXPECT_EQ(plan.assignments[1][0].end, 5);
}

TEST(Plan, RefusesWhatDoesNotFitTogether) {
  const HeldBlock top{{"w", at::kFloat, {8, 2}}, {{0, 0}, {3, 2}}}, rest{{"w", at::kFloat, {8, 2}}, {{3, 0}, {5, 2}}};
  EXPECT_THROW(make_plan({{top}}), std::logic_error);                                       // a hole
  EXPECT_THROW(make_plan({{top, rest}, {whole("w", {8, 2})}}), std::logic_error);           // overlap
  EXPECT_THROW(make_plan({{whole("w", {8, 2})}, {whole("w", {8, 3})}}), std::logic_error);  // other shape
  EXPECT_THROW(make_plan({{whole("w", {8, 2}), whole("w", {8, 2})}}), std::logic_error);    // twice
  EXPECT_THROW(make_plan({{whole("a", {2}), whole("a/b", {2})}}), std::logic_error);        // a folder of another
  for (const char* name : {"", "a@0", "/a", "a/", "a//b", "a/../b", "."}) {
    EXPECT_THROW(make_plan({{whole(name, {2})}}), std::logic_error) << name;
  }
}

TEST(Plan, BlocksSurviveTheirText) {
  const std::vector<HeldBlock> blocks = {whole("a/b.c", {3, 4}), {{"s", at::kBFloat16, {}}, {{}, {}}}};
  const auto back = blocks_from_text(to_text(blocks));
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0].tensor.name, "a/b.c");
  EXPECT_EQ(back[0].box.extent, (Shape{3, 4}));
  EXPECT_EQ(back[1].tensor.dtype, at::kBFloat16);
}

}  // namespace
}  // namespace medfuse::checkpoint
