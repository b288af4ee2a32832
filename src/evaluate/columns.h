// One disease's column of predictions, as the scores and the report need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/evaluate/predictions.h"

namespace medfuse::evaluate {

struct Column {
  std::vector<double> probabilities;  ///< [N]
  std::vector<std::uint8_t> labels;   ///< [N]
};

/// Column `disease` of labelled predictions.
inline Column column(const Predictions& predictions, std::size_t disease) {
  const std::size_t k = predictions.diseases.size();
  Column result;
  result.probabilities.reserve(predictions.size());
  result.labels.reserve(predictions.size());
  for (std::size_t i = disease; i < predictions.probabilities.size(); i += k) {
    result.probabilities.push_back(predictions.probabilities[i]);
    result.labels.push_back(predictions.labels[i]);
  }
  return result;
}

}  // namespace medfuse::evaluate
