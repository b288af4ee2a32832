// A table to be imputed, scaled to [0, 1] column by column.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

namespace medfuse::train {

struct ImputeTable {
  at::Tensor values_RC;    ///< float32, scaled by the column's observed minimum and maximum; 0 where empty
  at::Tensor observed_RC;  ///< bool
  std::vector<double> minimum, range;  ///< per column; range 0 for a constant one

  /// Throws std::logic_error as impute() does.
  ImputeTable(std::size_t columns, const std::vector<double>& values);

  /// Back to the column's own units, never outside its observed range.
  double unscaled(double scaled, std::size_t column) const;
};

}  // namespace medfuse::train
