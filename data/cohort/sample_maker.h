// Makes samples out of the cohort: text to tokens, lab values to scaled columns, labels; and counts them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/cohort/cohort.h"
#include "data/cohort/pack.h"

namespace medfuse::data {

class SampleMaker {
 public:
  /// All three outlive the maker.
  SampleMaker(const PackedInfo& info, const Cohort& cohort, const TextEncoder& encoder);

  /// Samples of admissions [begin, end), all of them owned by this member. An admission with neither text nor an
  /// observed lab is left out; one with labs alone gets the text "No notes.".
  std::vector<Sample> make(std::size_t begin, std::size_t end);

  // Counts of what this member made so far, as in PackSummary.
  std::int64_t left_out = 0, undiagnosed = 0, with_notes = 0, truncated = 0, tokens = 0, longest = 0, observed = 0;
  std::int64_t by_split[3] = {0, 0, 0};
  std::vector<std::int64_t> positives[3];

 private:
  std::optional<Sample> make(std::size_t i);
  std::vector<std::string> text(const Admission& admission, std::size_t own) const;

  const PackedInfo& info_;
  const Cohort& cohort_;
  const TextEncoder& encoder_;
  std::vector<std::optional<std::size_t>> numbers_;  // [labs] item number in the table
};

}  // namespace medfuse::data
