// The plots of the report: what is drawn from scores, curves and training figures, and how it looks.
#pragma once

#include <span>

#include "src/evaluate/curves.h"
#include "src/evaluate/gnuplot.h"
#include "src/evaluate/scores.h"
#include "src/evaluate/training_curves.h"

namespace medfuse::evaluate {

/// Line colours that stand out on a light and on a dark page, also for colour-blind readers; CSS uses the same.
inline constexpr const char* kCurveColour = "#2f80c9";
inline constexpr const char* kMarkColour = "#e0731d";
inline constexpr const char* kGuideColour = "#8b929c";

/// ROC curve with the diagonal of chance, and a dot at the threshold.
Plot roc_plot(std::span<const Cut> cuts, const DiseaseScores& scores);

/// Precision-recall curve with the share of positives (chance) as a dashed line, and a dot at the threshold.
Plot precision_recall_plot(std::span<const Cut> cuts, const DiseaseScores& scores);

/// Share of positives against mean predicted probability per bin with 95 % Wilson intervals; bars at the foot show the
/// share of samples in each bin.
Plot calibration_plot(std::span<const CalibrationBin> bins);

/// A training figure over the steps: as measured (faint) and smoothed, or one line where there is no noise.
Plot training_plot(const TrainingCurve& curve);

/// Whether training_plot() takes a logarithmic axis: all values positive and over a wide range.
bool wide_range(const TrainingCurve& curve);

}  // namespace medfuse::evaluate
