#include "data/cohort/sample_maker.h"

#include <algorithm>
#include <utility>

#include "data/cohort/columns.h"
#include "data/cohort/text.h"

namespace medfuse::data {

SampleMaker::SampleMaker(const PackedInfo& info, const Cohort& cohort, const TextEncoder& encoder)
    : info_(info), cohort_(cohort), encoder_(encoder) {
  for (const LabColumn& column : info.labs) numbers_.push_back(cohort.labs.number_of(column.item));
  for (auto& split : positives) split.assign(info.diseases.size(), 0);
}

std::vector<Sample> SampleMaker::make(std::size_t begin, std::size_t end) {
  std::vector<Sample> samples;
  for (std::size_t i = begin; i < end; ++i) {
    if (auto sample = make(i)) samples.push_back(std::move(*sample));
  }
  return samples;
}

std::optional<Sample> SampleMaker::make(std::size_t i) {
  const Admission& admission = cohort_.admissions[i];
  const auto own = static_cast<std::size_t>(cohort_.admissions.own(i));
  Sample sample{admission.id, admission.patient, admission.split};
  sample.labs.assign(info_.labs.size(), 0.f);
  sample.observed.assign(info_.labs.size(), 0);
  std::int64_t cells = 0;
  for (std::size_t c = 0; c < info_.labs.size(); ++c) {
    if (!numbers_[c]) continue;
    if (const auto value = cohort_.labs.value(own, *numbers_[c])) {
      sample.labs[c] = scaled(info_.labs[c], *value);
      sample.observed[c] = 1;
      ++cells;
    }
  }
  std::vector<std::string> parts = text(admission, own);
  if (parts.empty() && cells == 0) {
    ++left_out;
    return std::nullopt;
  }
  if (parts.empty()) parts.push_back("No notes.");
  Tokens encoded = tokens_of(parts, encoder_.encode, info_.max_tokens);
  sample.tokens = std::move(encoded.ids);
  if (cohort_.labels) {
    sample.labels = cohort_.labels->of(own);
    undiagnosed += !cohort_.labels->diagnosed(own);
  }
  const auto s = static_cast<std::size_t>(sample.split);
  ++by_split[s];
  for (std::size_t d = 0; d < sample.labels.size(); ++d) positives[s][d] += sample.labels[d];
  with_notes += !cohort_.notes.sections().empty() && cohort_.notes.any(own);
  truncated += encoded.truncated;
  tokens += static_cast<std::int64_t>(sample.tokens.size());
  longest = std::max(longest, static_cast<std::int64_t>(sample.tokens.size()));
  observed += cells;
  return sample;
}

/// Reason for admission, sections in the chosen order, abnormal labs.
std::vector<std::string> SampleMaker::text(const Admission& admission, std::size_t own) const {
  std::vector<std::string> parts;
  if (!admission.reason.empty()) parts.push_back(titled("reason for admission", admission.reason));
  const auto& sections = cohort_.notes.sections();
  for (std::size_t s = 0; s < sections.size(); ++s) {
    const std::string& found = cohort_.notes.texts(own)[s];
    if (!found.empty()) parts.push_back(titled(sections[s], found));
  }
  std::vector<std::string> results;
  for (const LabTable::Abnormal& lab : cohort_.labs.abnormal(own)) {
    results.push_back(abnormal_lab(item_name(cohort_.labs.items()[lab.item], cohort_.names), lab.result,
                                   cohort_.labs.unit(lab.item)));
  }
  if (!results.empty()) parts.push_back(abnormal_labs(results));
  return parts;
}

}  // namespace medfuse::data
