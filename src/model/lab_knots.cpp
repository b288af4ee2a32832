#include "src/model/lab_knots.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

namespace medfuse::model {

namespace {

std::vector<double> knots_of(std::vector<double> values, std::int64_t most) {
  std::sort(values.begin(), values.end());
  std::vector<double> distinct = values;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (static_cast<std::int64_t>(distinct.size()) > most) {
    distinct.clear();
    for (std::int64_t i = 0; i < most; ++i) {
      const double quantile = values[static_cast<std::size_t>(i) * (values.size() - 1) / static_cast<std::size_t>(most - 1)];
      if (distinct.empty() || quantile > distinct.back()) distinct.push_back(quantile);
    }
  }
  if (distinct.size() < 2) distinct = {0.0, 1.0};
  return distinct;
}

}  // namespace

at::Tensor LabKnots::counts_C() const { return knots_CK.isfinite().sum(1); }

LabPlaces LabKnots::locate(const at::Tensor& values_BC) const {
  const at::Tensor values_CB = values_BC.detach().to(knots_CK.scalar_type()).t().contiguous();
  at::Tensor index_CB = at::searchsorted(knots_CK, values_CB, /*out_int32=*/false, /*right=*/true) - 1;
  index_CB = at::minimum(index_CB.clamp_min(0), (counts_C() - 2).unsqueeze(1));
  const at::Tensor below = knots_CK.gather(1, index_CB);
  const at::Tensor above = knots_CK.gather(1, index_CB + 1);
  const at::Tensor fraction = ((values_CB - below) / (above - below)).clamp(0.0, 1.0);
  return {index_CB.t().contiguous(), fraction.t().contiguous()};
}

LabKnots fit_lab_knots(const at::Tensor& values_BC, const at::Tensor& observed_BC, std::int64_t most) {
  if (most < 2) throw std::logic_error("fit_lab_knots wants at least two knots");
  // Distinct in the type that they are kept in.
  const at::ScalarType type = values_BC.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor values = values_BC.to(at::kCPU, type).to(at::kDouble).contiguous();
  const at::Tensor observed = observed_BC.to(at::kCPU).contiguous();
  const double* value = values.const_data_ptr<double>();
  const bool* seen = observed.const_data_ptr<bool>();
  const std::int64_t rows = values.size(0), columns = values.size(1);
  std::vector<std::vector<double>> knots;
  std::size_t longest = 2;
  for (std::int64_t column = 0; column < columns; ++column) {
    std::vector<double> present;
    for (std::int64_t row = 0; row < rows; ++row) {
      if (seen[row * columns + column]) present.push_back(value[row * columns + column]);
    }
    knots.push_back(knots_of(std::move(present), most));
    longest = std::max(longest, knots.back().size());
  }
  const at::Tensor table = at::full({columns, static_cast<std::int64_t>(longest)},
                                    std::numeric_limits<double>::infinity(), at::kDouble);
  for (std::int64_t column = 0; column < columns; ++column) {
    const std::vector<double>& own = knots[static_cast<std::size_t>(column)];
    std::copy(own.begin(), own.end(), table.mutable_data_ptr<double>() + column * static_cast<std::int64_t>(longest));
  }
  return {table.to(values_BC.device(), type)};
}

}  // namespace medfuse::model
