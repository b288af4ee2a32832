#include "src/checkpoint/box.h"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace medfuse::checkpoint {
namespace {

TEST(Box, KnowsVolumesThatDoNotFit) {
  EXPECT_EQ(volume({}), 1);
  EXPECT_EQ(volume({3, 4}), 12);
  EXPECT_EQ(volume({3, 0, 5}), 0);
  EXPECT_EQ(volume({3, -1}), std::nullopt);
  EXPECT_EQ(volume({std::int64_t{1} << 40, std::int64_t{1} << 40}), std::nullopt);
  EXPECT_EQ(volume({0, std::int64_t{1} << 40, std::int64_t{1} << 40}), std::nullopt);
}

TEST(Box, LiesInsideOrNot) {
  EXPECT_TRUE(inside({{}, {}}, {}));
  EXPECT_TRUE(inside({{1, 2}, {2, 3}}, {3, 5}));
  EXPECT_FALSE(inside({{1, 3}, {2, 3}}, {3, 5}));
  EXPECT_FALSE(inside({{-1, 0}, {2, 3}}, {3, 5}));
  EXPECT_FALSE(inside({{1}, {2}}, {3, 5}));
  EXPECT_FALSE(inside({{1, 2}, {INT64_MAX, 3}}, {3, 5}));
}

TEST(Box, TilesOrNot) {
  EXPECT_TRUE(tile({{{}, {}}}, {}));
  EXPECT_TRUE(tile({{{0, 0}, {2, 5}}, {{2, 0}, {2, 2}}, {{2, 2}, {2, 3}}}, {4, 5}));
  EXPECT_TRUE(tile({}, {0, 5}));
  EXPECT_FALSE(tile({{{0, 0}, {2, 5}}}, {4, 5}));                                      // a hole
  EXPECT_FALSE(tile({{{0, 0}, {2, 5}}, {{1, 0}, {2, 5}}}, {4, 5}));                    // overlap and hole
  EXPECT_FALSE(tile({{{0, 0}, {4, 3}}, {{0, 2}, {4, 2}}}, {4, 5}));                    // overlap in columns
  EXPECT_FALSE(tile({{{0, 0}, {3, 1}}, {{0, 1}, {1, 1}}, {{2, 0}, {1, 2}}}, {3, 2}));  // overlap not next in order
  EXPECT_FALSE(tile({{{0, 0}, {2, 5}}, {{2, 0}, {2, 5}}, {{0, 0}, {1, 1}}}, {4, 5}));  // too much
}

TEST(Box, ARangeIsAFewBoxes) {
  for (const Shape& shape :
       {Shape{}, Shape{7}, Shape{4, 5}, Shape{1, 6}, Shape{5, 1}, Shape{3, 4, 5}, Shape{2, 1, 3, 2}}) {
    const std::int64_t n = volume(shape).value();
    const at::Tensor whole = at::arange(n).view(shape);
    for (std::int64_t begin = 0; begin <= n; ++begin) {
      for (std::int64_t end = begin; end <= n; ++end) {
        const std::vector<Box> boxes = boxes_of_range(shape, begin, end);
        EXPECT_LE(boxes.size(), shape.empty() ? 1 : 2 * shape.size() - 1);
        std::int64_t next = begin;
        for (const Box& box : boxes) {
          ASSERT_TRUE(inside(box, shape));
          at::Tensor part = whole;
          for (std::size_t d = 0; d < shape.size(); ++d) {
            part = part.narrow(static_cast<std::int64_t>(d), box.offset[d], box.extent[d]);
          }
          EXPECT_GT(part.numel(), 0);
          EXPECT_TRUE(at::equal(part.flatten(), at::arange(next, next + part.numel())));
          next += part.numel();
        }
        EXPECT_EQ(next, end);
      }
    }
  }
  EXPECT_EQ(boxes_of_range({4, 5}, 0, 20).size(), 1u);
  EXPECT_EQ(boxes_of_range({4, 5}, 5, 15).size(), 1u);
  ASSERT_EQ(boxes_of_range({3, 0}, 0, 0).size(), 1u);
  EXPECT_EQ(boxes_of_range({3, 0}, 0, 0)[0].extent, (Shape{3, 0}));
}

TEST(Box, RunsCopyJustTheSharedPart) {
  const at::Tensor whole = at::arange(4 * 5 * 6).reshape({4, 5, 6});
  const auto slice = [](const at::Tensor& t, const Box& b) {
    at::Tensor s = t;
    for (std::size_t d = 0; d < b.offset.size(); ++d) {
      s = s.narrow(static_cast<std::int64_t>(d), b.offset[d], b.extent[d]);
    }
    return s.contiguous();
  };
  const std::vector<Box> boxes = {{{0, 0, 0}, {4, 5, 6}}, {{1, 0, 0}, {2, 5, 6}}, {{0, 2, 0}, {4, 2, 6}},
                                  {{2, 1, 3}, {2, 3, 2}}, {{0, 0, 5}, {4, 5, 1}}, {{3, 4, 5}, {1, 1, 1}}};
  for (const Box& from : boxes) {
    for (const Box& to : boxes) {
      const at::Tensor source = slice(whole, from);
      at::Tensor target = at::full(to.extent, -1, at::kLong);
      std::int64_t last = -1;
      for_each_run(from, to, [&](std::int64_t s, std::int64_t t, std::int64_t n) {
        EXPECT_GT(s, last);
        last = s + n - 1;
        target.flatten().slice(0, t, t + n).copy_(source.flatten().slice(0, s, s + n));
      });
      at::Tensor expected = at::full_like(whole, -1);
      expected.slice(0, from.offset[0], from.offset[0] + from.extent[0])
          .slice(1, from.offset[1], from.offset[1] + from.extent[1])
          .slice(2, from.offset[2], from.offset[2] + from.extent[2])
          .copy_(source);
      EXPECT_TRUE(at::equal(target, slice(expected, to)));
    }
  }
  int runs = 0;
  for_each_run(boxes[0], boxes[1], [&](std::int64_t, std::int64_t, std::int64_t) { ++runs; });
  EXPECT_EQ(runs, 1);  // whole rows lie side by side
}

}  // namespace
}  // namespace medfuse::checkpoint
