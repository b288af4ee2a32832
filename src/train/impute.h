// Fills the empty cells of one numeric table with a masked lab transformer that is trained on that table alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "src/model/options.h"

namespace medfuse::train {

/// Defaults: chosen on a 4,000-row table of 17 columns.
struct ImputeOptions {
  std::int64_t epochs = 0;         ///< 0: impute_epochs(rows)
  std::int64_t batch = 64;         ///< rows per step
  double learning_rate = 2e-3;     ///< peak
  double warmup = 0.1;             ///< share of the steps
  double weight_decay = 0.01;
  double clip = 1.0;               ///< largest gradient norm; 0: no clipping
  double cross_entropy = 0.05;     ///< weight of the distributions' cross-entropy beside the squared error
  std::int64_t knots = 64;         ///< most support points of a column; columns of fewer distinct values get one for each
  model::LabOptions labs{.width = 64, .encoder_layers = 3, .decoder_layers = 1, .heads = 4, .mask_ratio = 0.3};
  std::uint64_t seed = 1;
  std::int64_t threads = 0;        ///< 0: as many as the machine has; changes the result by rounding only
};

/// Passes over a table of that many rows which take a few minutes on two cores: many for a small one, at least 30.
std::int64_t impute_epochs(std::int64_t rows);

struct ImputeProgress {
  std::int64_t step = 0;           ///< steps done
  std::int64_t steps = 0;
  std::int64_t batch = 0;          ///< rows per step
  double loss = 0;                 ///< mean squared error over hidden cells plus that over visible cells, scaled
};

/// values: rows x columns, row by row, NaN where empty. Returns it with the NaN replaced: expected values given the
/// row's observed cells, inside the column's observed range. Observed cells are returned as they are. Columns are scaled
/// by their observed minimum and maximum; the order of rows and the masks are functions of (seed, epoch, row).
/// `progress` (may be empty) is called before the first step and after every one, on the calling thread. A table without empty cells is returned
/// at once. Throws Error(usage) for options out of range, Error(numeric) where training diverges, std::logic_error for a
/// table without rows or with a column without numbers (data::NumericTable refuses both).
std::vector<double> impute(const ImputeOptions& options, std::size_t columns, std::vector<double> values,
                           const std::function<void(const ImputeProgress&)>& progress = {});

}  // namespace medfuse::train
