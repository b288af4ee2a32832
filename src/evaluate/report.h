// report.html: one self-contained page with the scores, ROC, precision-recall and calibration plots, training curves.
#pragma once

#include <filesystem>
#include <string>

#include "src/evaluate/evaluation_json.h"
#include "src/evaluate/predictions.h"

namespace medfuse::evaluate {

struct ReportOptions {
  std::string title = "medfuse evaluation";
  std::filesystem::path metrics;      ///< metrics.jsonl of the run; empty or missing: no training curves
  std::string gnuplot = "gnuplot";    ///< program that draws the pictures, looked up in PATH
};

/// Writes the page atomically, mode 0600. It holds aggregated figures only, no row of a patient.
/// Returns a warning in one line when gnuplot is missing or fails (then the page has its tables but no pictures, and
/// says so), else an empty string. Throws Error(data) when the page cannot be written.
std::string write_report(const std::filesystem::path& path, const Evaluation& evaluation,
                         const Predictions& predictions, const ReportOptions& options = {});

}  // namespace medfuse::evaluate
