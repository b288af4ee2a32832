// Multi-label scores: per disease and over all, thresholds chosen by F1, and bootstrap intervals by patient.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/evaluate/predictions.h"

namespace medfuse::evaluate {

/// One disease against the rest. A ratio whose denominator is 0 (no predicted or no true positive) counts as 0.
struct DiseaseScores {
  std::string name;
  double threshold = 0.5;               ///< positive where probability >= threshold
  std::int64_t positives = 0;           ///< by the truth
  std::int64_t negatives = 0;
  std::int64_t true_positives = 0;
  std::int64_t false_positives = 0;
  std::int64_t false_negatives = 0;
  std::int64_t true_negatives = 0;
  double f1 = 0;
  double precision = 0;
  double recall = 0;
  double accuracy = 0;
  std::optional<double> auroc;          ///< undefined where one of the classes is absent
  std::optional<double> auprc;          ///< average precision; undefined where no sample is positive
  double brier = 0;                     ///< mean squared difference of probability and truth
  double calibration_error = 0;         ///< expected calibration error over ten equal-width bins
};

struct Interval {
  double low = 0;
  double high = 0;
};

struct Scores {
  std::vector<DiseaseScores> diseases;
  double macro_f1 = 0;                  ///< macro: mean over diseases, each counting the same
  double macro_precision = 0;
  double macro_recall = 0;
  double micro_f1 = 0;                  ///< micro: from the sums of true and false positives and negatives
  double micro_precision = 0;
  double micro_recall = 0;
  double accuracy = 0;                  ///< share of right decisions among all N * K
  double exact_match = 0;               ///< share of samples with all K decisions right
  std::optional<double> macro_auroc;    ///< mean over the diseases where it is defined
  std::optional<double> macro_auprc;
  double brier = 0;                     ///< mean over diseases
  double calibration_error = 0;         ///< mean over diseases
  std::optional<Interval> macro_f1_interval;     ///< 95 % bootstrap intervals, where asked for
  std::optional<Interval> macro_auroc_interval;
  std::vector<std::string> notes;       ///< which diseases a mean leaves out, and why
};

/// What the parts of the disentangled fusion say alone, by disentanglement().
struct Disentanglement {
  /// Macro AUROC of a linear probe on one part; undefined where no disease has both classes.
  std::optional<double> text_auroc;    ///< S_A
  std::optional<double> labs_auroc;    ///< S_B
  std::optional<double> shared_auroc;  ///< S_C
  double mutual_information = 0;       ///< vCLUB([S_A, S_B]; S_C) in nats, by an estimator that training never saw
};

/// Threshold with the highest F1 per disease; use it on the validation split only. Candidates lie midway between
/// neighbouring distinct probabilities and below the lowest. Among equals the one nearest to 0.5 is taken, then the
/// higher. 0.5 where a disease has no positive sample. Throws as check_labelled() does.
std::vector<double> choose_thresholds(const Predictions& predictions);

/// Scores at the given thresholds [K]. Throws as check_labelled() does.
Scores score(const Predictions& predictions, const std::vector<double>& thresholds);

/// Adds 95 % percentile intervals of macro F1 and macro AUROC to `scores` (made of the same predictions): patients are
/// drawn with replacement, all admissions of a patient together; thresholds stay. A function of (seed, predictions),
/// not of the order of rows. A resample's mean AUROC leaves out the diseases that it leaves without one of the classes.
void add_bootstrap_intervals(Scores& scores, const Predictions& predictions, std::uint64_t seed,
                             std::int64_t resamples = 1000);

}  // namespace medfuse::evaluate
