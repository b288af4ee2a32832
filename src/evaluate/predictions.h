// What a model said about a set of admissions, beside the truth where it is known, and the CSV file of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace medfuse::evaluate {

/// N admissions and K diseases; matrices are row major.
struct Predictions {
  std::vector<std::string> diseases;      ///< [K]
  std::vector<std::int64_t> admissions;   ///< [N]
  std::vector<std::int64_t> patients;     ///< [N]
  std::vector<double> probabilities;      ///< [N, K] each in [0, 1]
  std::vector<std::uint8_t> labels;       ///< [N, K] 0 or 1; empty where the truth is not known

  std::size_t size() const { return admissions.size(); }
};

/// Checks shapes (std::logic_error) and values: Error(numeric) for a probability that is not a number in [0, 1],
/// Error(data) for a label other than 0 and 1; both name the admission and the disease.
void check(const Predictions& predictions);

/// check(), and also Error(data) when there is no sample or no label.
void check_labelled(const Predictions& predictions);

/// Rows of `admission,<disease>,...`: a header, then one row per admission with its probabilities, in the order given
/// and with just the digits that tell float32 values apart. Names are quoted as in RFC 4180. Written atomically, mode 0600.
/// Throws as check() does, and Error(data) when the file cannot be written.
void write_predictions(const std::filesystem::path& path, const Predictions& predictions);

}  // namespace medfuse::evaluate
