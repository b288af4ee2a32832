// The ranks that pack together, as packing sees them: a number, a count and three reductions, so that this folder need
// not know how they talk.
#pragma once

#include <functional>
#include <vector>

namespace medfuse::data {

/// Every member calls the same functions in the same order. The default is a team of one.
struct Team {
  using Reduce = std::function<void(std::vector<double>&)>;
  int index = 0;
  int count = 1;
  Reduce sum = [](std::vector<double>&) {};  ///< in place, elementwise over the members; exact for x + 0
  Reduce min = [](std::vector<double>&) {};
  Reduce max = [](std::vector<double>&) {};
  std::function<void()> barrier = [] {};     ///< also makes the files that members wrote visible to all
};

}  // namespace medfuse::data
