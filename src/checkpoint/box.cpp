#include "src/checkpoint/box.h"

#include <algorithm>

namespace medfuse::checkpoint {

std::optional<std::int64_t> volume(const Shape& extent) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t n : extent) {
    if (n < 0) return std::nullopt;
    empty = empty || n == 0;
    if (n > 0 && (__builtin_mul_overflow(product, n, &product) || product >= std::int64_t{1} << 62))
      return std::nullopt;
  }
  return empty ? 0 : product;
}

bool inside(const Box& box, const Shape& shape) {
  if (box.offset.size() != shape.size() || box.extent.size() != shape.size()) return false;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (box.offset[d] < 0 || box.extent[d] < 0 || box.offset[d] > shape[d] ||
        box.extent[d] > shape[d] - box.offset[d]) {
      return false;
    }
  }
  return true;
}

bool tile(std::vector<Box> boxes, const Shape& shape) {
  std::erase_if(boxes, [](const Box& box) { return volume(box.extent) == 0; });
  std::int64_t covered = 0;
  const std::int64_t whole = volume(shape).value();
  for (const Box& box : boxes) {
    covered += volume(box.extent).value();
    if (covered > whole) return false;
  }
  if (covered != whole) return false;
  // The volumes add up, so they tile if no two share an element. Sorted, only near ones can share a row.
  std::sort(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.offset < b.offset; });
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (std::size_t j = i + 1; j < boxes.size(); ++j) {
      bool shared = true;
      for (std::size_t d = 0; d < shape.size() && shared; ++d) {
        shared = boxes[i].offset[d] < boxes[j].offset[d] + boxes[j].extent[d] &&
                 boxes[j].offset[d] < boxes[i].offset[d] + boxes[i].extent[d];
      }
      if (shared) return false;
      if (!shape.empty() && boxes[j].offset[0] >= boxes[i].offset[0] + boxes[i].extent[0]) break;
    }
  }
  return true;
}

std::vector<Box> boxes_of_range(const Shape& shape, std::int64_t begin, std::int64_t end) {
  const std::size_t dims = shape.size();
  if (volume(shape) == 0) return {{Shape(dims, 0), shape}};
  Shape stride(dims, 1);
  for (std::size_t d = dims; d-- > 1;) stride[d - 1] = stride[d] * shape[d];
  std::vector<Box> boxes;
  while (begin < end) {
    Box box{Shape(dims), Shape(dims, 1)};
    for (std::size_t d = 0; d < dims; ++d) box.offset[d] = begin / stride[d] % shape[d];
    // As many whole rows of the outermost dimension as there are from here on: one at least in the innermost.
    std::size_t d = 0;
    while (d < dims && (begin % stride[d] != 0 || end - begin < stride[d])) ++d;
    std::int64_t length = 1;  // of a scalar
    if (d < dims) {
      const std::int64_t rows = std::min((end - begin) / stride[d], shape[d] - box.offset[d]);
      length = rows * stride[d];
      box.extent[d] = rows;
      std::copy(shape.begin() + static_cast<std::ptrdiff_t>(d) + 1, shape.end(),
                box.extent.begin() + static_cast<std::ptrdiff_t>(d) + 1);
    }
    boxes.push_back(std::move(box));
    begin += length;
  }
  return boxes;
}

void for_each_run(const Box& from, const Box& to,
                  const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& run) {
  const std::size_t dims = from.offset.size();
  Shape begin(dims), length(dims);
  for (std::size_t d = 0; d < dims; ++d) {
    begin[d] = std::max(from.offset[d], to.offset[d]);
    length[d] = std::min(from.offset[d] + from.extent[d], to.offset[d] + to.extent[d]) - begin[d];
    if (length[d] <= 0) return;
  }
  // Dimensions that both blocks hold in full are part of a run, and so is the one before them.
  std::size_t outer = dims;
  std::int64_t run_length = 1;
  while (outer > 0) {
    --outer;
    run_length *= length[outer];
    if (length[outer] != from.extent[outer] || length[outer] != to.extent[outer]) break;
  }
  Shape index = begin;
  for (;;) {
    std::int64_t source = 0, target = 0;
    for (std::size_t d = 0; d < dims; ++d) {
      source = source * from.extent[d] + index[d] - from.offset[d];
      target = target * to.extent[d] + index[d] - to.offset[d];
    }
    run(source, target, run_length);
    std::size_t d = outer;
    while (d > 0 && ++index[d - 1] == begin[d - 1] + length[d - 1]) {
      index[d - 1] = begin[d - 1];
      --d;
    }
    if (d == 0) return;
  }
}

}  // namespace medfuse::checkpoint
