// Support points of each column's values, for a piecewise linear embedding of values and for predicting distributions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace medfuse::model {

/// Where values lie between their column's knots: value = knot[index] * (1 - fraction) + knot[index + 1] * fraction.
struct LabPlaces {
  at::Tensor index_BC;     ///< int64
  at::Tensor fraction_BC;  ///< in [0, 1]
};

/// Strictly increasing knots of each column, at least two.
struct LabKnots {
  at::Tensor knots_CK;  ///< the rest of a column with fewer than K is +infinity

  at::Tensor counts_C() const;  ///< int64
  bool defined() const { return knots_CK.defined(); }
  /// Values beyond the outer knots count as those. values_BC must be finite.
  LabPlaces locate(const at::Tensor& values_BC) const;
};

/// Each column's distinct observed values, or, where they are more than `most`, their quantiles at equal steps (minimum
/// and maximum included). values_BC: scaled to [0, 1], any device; the result lies on it. A column with less than two
/// distinct values gets the knots 0 and 1.
LabKnots fit_lab_knots(const at::Tensor& values_BC, const at::Tensor& observed_BC, std::int64_t most);

}  // namespace medfuse::model
