// Made-up predictions of any size for tests: some signal, two admissions per patient, shares of positives that differ.
#pragma once

#include <cmath>
#include <string>

#include "base/random.h"
#include "src/evaluate/predictions.h"

namespace medfuse::testing {

inline evaluate::Predictions synthetic(std::size_t samples, std::size_t diseases, std::uint64_t seed = 1) {
  evaluate::Predictions p;
  for (std::size_t d = 0; d < diseases; ++d) p.diseases.push_back("Disease " + std::to_string(d + 1));
  for (std::size_t n = 0; n < samples; ++n) {
    p.admissions.push_back(static_cast<std::int64_t>(100000 + n));
    p.patients.push_back(static_cast<std::int64_t>(500 + n / 2));
    for (std::size_t d = 0; d < diseases; ++d) {
      const double share = 0.08 + 0.4 * static_cast<double>(d) / static_cast<double>(diseases);
      const bool positive = uniform(key({seed, n, d, 0})) < share;
      const double noise = uniform(key({seed, n, d, 1})) + uniform(key({seed, n, d, 2})) - 1;
      const double logit = -1.2 + (1.0 + 0.15 * static_cast<double>(d)) * positive + 2.0 * noise;
      p.labels.push_back(positive);
      p.probabilities.push_back(1 / (1 + std::exp(-logit)));
    }
  }
  return p;
}

}  // namespace medfuse::testing
