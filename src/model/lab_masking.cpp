#include "src/model/lab_masking.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "base/random.h"

namespace medfuse::model {

at::Tensor lab_keep_mask(const at::Tensor& observed_BC, const std::vector<std::int64_t>& sample_ids, std::uint64_t seed,
                         std::uint64_t stage, std::uint64_t epoch, double ratio) {
  const at::Tensor row_keys_B = at::empty({static_cast<std::int64_t>(sample_ids.size())}, at::kLong);
  std::int64_t* row_key = row_keys_B.mutable_data_ptr<std::int64_t>();
  for (const std::int64_t id : sample_ids) {
    *row_key++ = static_cast<std::int64_t>(key({seed, stage, epoch, static_cast<std::uint64_t>(id)}));
  }
  return lab_keep_mask(observed_BC, row_keys_B, ratio);
}

at::Tensor lab_keep_mask(const at::Tensor& observed_BC, const at::Tensor& row_keys_B, double ratio) {
  if (observed_BC.dim() != 2 || observed_BC.scalar_type() != at::kBool || row_keys_B.scalar_type() != at::kLong ||
      row_keys_B.dim() != 1 || row_keys_B.size(0) != observed_BC.size(0)) {
    throw std::logic_error("lab_keep_mask wants a bool matrix and one int64 key (or sample id) per row");
  }
  if (!(ratio >= 0.0 && ratio <= 1.0)) throw std::logic_error("lab_keep_mask wants a ratio in [0, 1]");
  const at::Tensor observed = observed_BC.to(at::kCPU).contiguous();
  const at::Tensor row_keys = row_keys_B.to(at::kCPU).contiguous();
  const at::Tensor keep = at::zeros_like(observed);
  const std::int64_t rows = observed.size(0);
  const std::int64_t columns = observed.size(1);
  const bool* observed_row = observed.const_data_ptr<bool>();
  const std::int64_t* row_key = row_keys.const_data_ptr<std::int64_t>();
  bool* keep_row = keep.mutable_data_ptr<bool>();
  std::vector<std::pair<std::uint64_t, std::int64_t>> order;
  for (std::int64_t row = 0; row < rows; ++row) {
    order.clear();
    for (std::int64_t column = 0; column < columns; ++column) {
      if (!observed_row[column]) continue;
      // The column as one more counter after those of the row's key.
      order.emplace_back(mix(static_cast<std::uint64_t>(row_key[row]) ^ mix(static_cast<std::uint64_t>(column))), column);
    }
    const double exact = static_cast<double>(order.size()) * (1.0 - ratio);
    // 10 * (1 - 0.7) is 3.0000000000000004: a rounding error must not keep a cell more.
    const auto kept = static_cast<std::ptrdiff_t>(std::ceil(exact - 1e-9 * std::max(1.0, exact)));
    std::nth_element(order.begin(), order.begin() + kept, order.end());
    for (std::ptrdiff_t i = 0; i < kept; ++i) keep_row[order[static_cast<std::size_t>(i)].second] = true;
    observed_row += columns;
    keep_row += columns;
  }
  return keep.to(observed_BC.device());
}

LabCounts lab_counts(const at::Tensor& observed_BC, const at::Tensor& keep_BC) {
  const std::int64_t kept = keep_BC.sum().item<std::int64_t>();
  return {observed_BC.sum().item<std::int64_t>() - kept, kept};
}

}  // namespace medfuse::model
