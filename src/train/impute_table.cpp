#include "src/train/impute_table.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace medfuse::train {

ImputeTable::ImputeTable(std::size_t columns, const std::vector<double>& values)
    : minimum(columns, std::numeric_limits<double>::infinity()), range(columns) {
  if (columns == 0 || values.empty() || values.size() % columns != 0) {
    throw std::logic_error("impute wants at least one row, and every row with all columns");
  }
  std::vector<double> maximum(columns, -std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    minimum[i % columns] = std::min(minimum[i % columns], values[i]);
    maximum[i % columns] = std::max(maximum[i % columns], values[i]);
  }
  for (std::size_t column = 0; column < columns; ++column) {
    if (!std::isfinite(minimum[column])) throw std::logic_error("impute wants a number in every column");
    range[column] = maximum[column] - minimum[column];
  }
  const auto rows = static_cast<std::int64_t>(values.size() / columns);
  values_RC = at::zeros({rows, static_cast<std::int64_t>(columns)}, at::kFloat);
  observed_RC = at::zeros({rows, static_cast<std::int64_t>(columns)}, at::kBool);
  float* value = values_RC.mutable_data_ptr<float>();
  bool* observed = observed_RC.mutable_data_ptr<bool>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    observed[i] = true;
    const std::size_t column = i % columns;
    if (range[column] > 0) value[i] = static_cast<float>((values[i] - minimum[column]) / range[column]);
  }
}

double ImputeTable::unscaled(double scaled, std::size_t column) const {
  if (!std::isfinite(scaled)) return scaled;
  return minimum[column] + std::clamp(scaled, 0.0, 1.0) * range[column];
}

}  // namespace medfuse::train
