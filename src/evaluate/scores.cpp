#include "src/evaluate/scores.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

#include "src/evaluate/columns.h"
#include "src/evaluate/curves.h"

namespace medfuse::evaluate {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
  return whole ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

double f1_of(std::int64_t true_positives, std::int64_t false_positives, std::int64_t false_negatives) {
  return ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives);
}

/// A threshold that parts `high` from the smaller `low`: `high` is positive, `low` is not.
double between(double low, double high) {
  const double middle = low + (high - low) / 2;
  return middle > low ? middle : high;
}

double best_threshold(const std::vector<Cut>& cuts) {
  if (cuts.empty() || cuts.back().true_positives == 0) return 0.5;
  const std::int64_t positives = cuts.back().true_positives;
  double best = 0.5;
  std::int64_t best_hits = 0;      // F1 = 2 hits / total, compared as fractions of integers so that ties are exact
  std::int64_t best_total = 1;
  for (std::size_t c = 0; c < cuts.size(); ++c) {
    const double threshold = c + 1 < cuts.size() ? between(cuts[c + 1].score, cuts[c].score) : cuts[c].score / 2;
    const std::int64_t hits = cuts[c].true_positives;
    const std::int64_t total = cuts[c].true_positives + cuts[c].false_positives + positives;
    const std::int64_t gain = hits * best_total - best_hits * total;
    // Thresholds fall from cut to cut, so that of two equally far from 0.5 the higher was met first.
    if (gain > 0 || (gain == 0 && std::abs(threshold - 0.5) < std::abs(best - 0.5))) {
      best = threshold;
      best_hits = hits;
      best_total = total;
    }
  }
  return best;
}

DiseaseScores score_disease(const std::string& name, const Column& column, double threshold) {
  DiseaseScores s;
  s.name = name;
  s.threshold = threshold;
  double squares = 0;
  for (std::size_t i = 0; i < column.labels.size(); ++i) {
    const bool predicted = column.probabilities[i] >= threshold;
    const bool truth = column.labels[i] != 0;
    (truth ? (predicted ? s.true_positives : s.false_negatives)
           : (predicted ? s.false_positives : s.true_negatives)) += 1;
    const double difference = column.probabilities[i] - static_cast<double>(truth);
    squares += difference * difference;
  }
  s.positives = s.true_positives + s.false_negatives;
  s.negatives = s.false_positives + s.true_negatives;
  s.f1 = f1_of(s.true_positives, s.false_positives, s.false_negatives);
  s.precision = ratio(s.true_positives, s.true_positives + s.false_positives);
  s.recall = ratio(s.true_positives, s.positives);
  s.accuracy = ratio(s.true_positives + s.true_negatives, s.positives + s.negatives);
  s.brier = squares / static_cast<double>(column.labels.size());
  const std::vector<Cut> all = cuts(column.probabilities, column.labels);
  s.auroc = auroc(all);
  s.auprc = average_precision(all);
  s.calibration_error = expected_calibration_error(calibration_bins(column.probabilities, column.labels));
  return s;
}

/// Mean over the diseases where the score is defined.
std::optional<double> defined_mean(const std::vector<DiseaseScores>& diseases,
                                   std::optional<double> DiseaseScores::*member) {
  double sum = 0;
  int count = 0;
  for (const DiseaseScores& d : diseases) {
    if (!(d.*member)) continue;
    sum += *(d.*member);
    ++count;
  }
  return count ? std::optional<double>(sum / count) : std::nullopt;
}

double mean(const std::vector<DiseaseScores>& diseases, double DiseaseScores::*member) {
  double sum = 0;
  for (const DiseaseScores& d : diseases) sum += d.*member;
  return sum / static_cast<double>(diseases.size());
}

void note_undefined(Scores& scores) {
  for (const DiseaseScores& d : scores.diseases) {
    if (d.positives == 0) {
      scores.notes.push_back(fmt::format("'{}' has no positive sample here: AUROC and AUPRC are undefined and left out "
                                         "of their means; its F1, precision and recall count as 0",
                                         d.name));
    } else if (d.negatives == 0) {
      scores.notes.push_back(
          fmt::format("'{}' has no negative sample here: AUROC is undefined and left out of its mean", d.name));
    }
  }
}

}  // namespace

std::vector<double> choose_thresholds(const Predictions& predictions) {
  check_labelled(predictions);
  std::vector<double> thresholds;
  for (std::size_t d = 0; d < predictions.diseases.size(); ++d) {
    const Column c = column(predictions, d);
    thresholds.push_back(best_threshold(cuts(c.probabilities, c.labels)));
  }
  return thresholds;
}

Scores score(const Predictions& predictions, const std::vector<double>& thresholds) {
  check_labelled(predictions);
  const std::size_t k = predictions.diseases.size();
  if (thresholds.size() != k) {
    throw std::logic_error(fmt::format("{} thresholds for {} diseases", thresholds.size(), k));
  }
  Scores s;
  std::int64_t tp = 0, fp = 0, fn = 0, tn = 0;
  for (std::size_t d = 0; d < k; ++d) {
    s.diseases.push_back(score_disease(predictions.diseases[d], column(predictions, d), thresholds[d]));
    tp += s.diseases.back().true_positives;
    fp += s.diseases.back().false_positives;
    fn += s.diseases.back().false_negatives;
    tn += s.diseases.back().true_negatives;
  }
  s.macro_f1 = mean(s.diseases, &DiseaseScores::f1);
  s.macro_precision = mean(s.diseases, &DiseaseScores::precision);
  s.macro_recall = mean(s.diseases, &DiseaseScores::recall);
  s.micro_f1 = f1_of(tp, fp, fn);
  s.micro_precision = ratio(tp, tp + fp);
  s.micro_recall = ratio(tp, tp + fn);
  s.accuracy = ratio(tp + tn, tp + fp + fn + tn);
  std::int64_t exact = 0;
  for (std::size_t n = 0; n < predictions.size(); ++n) {
    bool right = true;
    for (std::size_t d = 0; d < k && right; ++d) {
      right = (predictions.probabilities[n * k + d] >= thresholds[d]) == (predictions.labels[n * k + d] != 0);
    }
    exact += right;
  }
  s.exact_match = ratio(exact, static_cast<std::int64_t>(predictions.size()));
  s.macro_auroc = defined_mean(s.diseases, &DiseaseScores::auroc);
  s.macro_auprc = defined_mean(s.diseases, &DiseaseScores::auprc);
  s.brier = mean(s.diseases, &DiseaseScores::brier);
  s.calibration_error = mean(s.diseases, &DiseaseScores::calibration_error);
  note_undefined(s);
  return s;
}

}  // namespace medfuse::evaluate
