// Rectangular blocks of a tensor: whether they tile it, and how to walk through the part that two of them share.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace medfuse::checkpoint {

using Shape = std::vector<std::int64_t>;

/// Elements [offset, offset + extent) of a tensor; both have as many entries as it has dimensions.
struct Box {
  Shape offset;
  Shape extent;
};

/// Number of elements; nothing if an extent is negative or the product does not fit into 62 bits.
std::optional<std::int64_t> volume(const Shape& extent);

/// Whether `box` has the dimensions of `shape` and lies inside it.
bool inside(const Box& box, const Shape& shape);

/// Whether the boxes, all inside `shape`, cover each of its elements exactly once. Empty boxes do not count.
bool tile(std::vector<Box> boxes, const Shape& shape);

/// The fewest boxes that make up the elements [begin, end) of a tensor in row-major order, in that order: at most two
/// for each dimension but the first, and one. Of a tensor without elements, the whole.
std::vector<Box> boxes_of_range(const Shape& shape, std::int64_t begin, std::int64_t end);

/// Calls run(source, target, n) for each contiguous run of n elements of what the boxes share: `source` and `target`
/// are positions inside the row-major blocks of `from` and `to`. Ascending in both.
void for_each_run(const Box& from, const Box& to,
                  const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& run);

}  // namespace medfuse::checkpoint
