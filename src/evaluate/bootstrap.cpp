// Bootstrap intervals of scores.h. Each disease is sorted once; a resample only re-weights the sorted rows.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "base/random.h"
#include "src/evaluate/scores.h"

namespace medfuse::evaluate {
namespace {

/// A disease's samples from the highest to the lowest probability.
struct Ranked {
  std::vector<std::uint32_t> patient;   ///< [N] index of the patient
  std::vector<std::uint8_t> label;      ///< [N]
  std::vector<std::uint8_t> ends_tie;   ///< [N] 1 where the next probability differs
  std::size_t predicted = 0;            ///< so many are at or above the threshold
};

Ranked rank(const Predictions& predictions, const std::vector<std::uint32_t>& patient, std::size_t disease,
            double threshold) {
  const std::size_t n = predictions.size();
  const std::size_t k = predictions.diseases.size();
  const auto probability = [&](std::size_t i) { return predictions.probabilities[i * k + disease]; };
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return probability(a) > probability(b); });
  Ranked ranked;
  for (std::size_t j = 0; j < n; ++j) {
    const std::size_t i = order[j];
    ranked.patient.push_back(patient[i]);
    ranked.label.push_back(predictions.labels[i * k + disease]);
    ranked.ends_tie.push_back(j + 1 == n || probability(order[j + 1]) != probability(i));
    ranked.predicted += probability(i) >= threshold;
  }
  return ranked;
}

struct Resampled {
  double f1 = 0;
  double auroc = 0;
  bool has_auroc = false;
};

Resampled resample(const Ranked& ranked, const std::vector<std::uint32_t>& weight) {
  std::int64_t positives = 0, negatives = 0;       // so far
  std::int64_t positives_before = 0, negatives_before = 0;  // before the current tie
  std::int64_t true_positives = 0, false_positives = 0;     // at the threshold, which never falls into a tie
  double twice_area = 0;
  for (std::size_t j = 0; j < ranked.patient.size(); ++j) {
    const std::int64_t w = weight[ranked.patient[j]];
    const std::int64_t positive = ranked.label[j] ? w : 0;
    positives += positive;
    negatives += w - positive;
    if (ranked.ends_tie[j]) {
      twice_area += static_cast<double>(negatives - negatives_before) *
                    static_cast<double>(positives + positives_before);
      positives_before = positives;
      negatives_before = negatives;
    }
    if (j + 1 == ranked.predicted) {
      true_positives = positives;
      false_positives = negatives;
    }
  }
  Resampled result;
  const std::int64_t total = true_positives + false_positives + positives;
  if (total) result.f1 = 2.0 * static_cast<double>(true_positives) / static_cast<double>(total);
  result.has_auroc = positives > 0 && negatives > 0;
  if (result.has_auroc) {
    result.auroc = twice_area / 2 / (static_cast<double>(positives) * static_cast<double>(negatives));
  }
  return result;
}

/// Between the neighbours in rank, linearly. `values` is not empty.
double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

std::optional<Interval> interval(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return Interval{percentile(values, 0.025), percentile(values, 0.975)};
}

}  // namespace

void add_bootstrap_intervals(Scores& scores, const Predictions& predictions, std::uint64_t seed,
                             std::int64_t resamples) {
  check_labelled(predictions);
  const std::size_t k = predictions.diseases.size();
  if (scores.diseases.size() != k) throw std::logic_error("bootstrap: scores of other predictions");
  if (predictions.patients.size() != predictions.size()) throw std::logic_error("bootstrap: a patient per row, please");

  std::vector<std::int64_t> patients = predictions.patients;
  std::sort(patients.begin(), patients.end());
  patients.erase(std::unique(patients.begin(), patients.end()), patients.end());
  std::vector<std::uint32_t> patient;
  for (const std::int64_t id : predictions.patients) {
    patient.push_back(
        static_cast<std::uint32_t>(std::lower_bound(patients.begin(), patients.end(), id) - patients.begin()));
  }
  std::vector<Ranked> ranked;
  for (std::size_t d = 0; d < k; ++d) {
    ranked.push_back(rank(predictions, patient, d, scores.diseases[d].threshold));
  }

  const std::uint64_t site = name_counter("evaluate.bootstrap");
  std::vector<double> f1s, aurocs;
  std::vector<std::uint32_t> weight(patients.size());
  for (std::int64_t r = 0; r < resamples; ++r) {
    std::fill(weight.begin(), weight.end(), 0u);
    for (std::size_t i = 0; i < patients.size(); ++i) {
      const double u = uniform(key({seed, site, static_cast<std::uint64_t>(r), i}));
      weight[static_cast<std::size_t>(u * static_cast<double>(patients.size()))] += 1;
    }
    double f1 = 0, auroc = 0;
    int defined = 0;
    for (const Ranked& disease : ranked) {
      const Resampled one = resample(disease, weight);
      f1 += one.f1;
      auroc += one.auroc;
      defined += one.has_auroc;
    }
    f1s.push_back(f1 / static_cast<double>(k));
    if (defined) aurocs.push_back(auroc / defined);
  }
  scores.macro_f1_interval = interval(std::move(f1s));
  scores.macro_auroc_interval = interval(std::move(aurocs));
}

}  // namespace medfuse::evaluate
