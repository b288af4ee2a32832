// evaluation.json, the machine-readable result of an evaluation, and the same as a table for the terminal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "src/evaluate/scores.h"

namespace medfuse::evaluate {

struct Evaluation {
  std::string split;              ///< train, validation or test
  std::string data;               ///< packed data set
  std::string stage;              ///< stage of the checkpoint that was evaluated, and its steps done
  std::int64_t step = 0;
  std::int64_t samples = 0;
  std::int64_t patients = 0;
  Scores scores;
  std::optional<Disentanglement> parts;  ///< none without a fusion of both views, nor on the rows its probes learn from
};

/// Keys: macro_f1, micro_f1, macro_precision, macro_recall, accuracy, macro_auroc, macro_auprc, threshold (disease ->
/// threshold), per_disease (disease -> f1, precision, recall, accuracy, auroc, auprc, threshold, ...), split, samples,
/// disentanglement (null, or text_auroc, labs_auroc, shared_auroc, mutual_information) and more. An undefined score is
/// null, and `notes` says why.
nlohmann::ordered_json to_json(const Evaluation& evaluation);

/// Writes to_json() atomically, mode 0600. Throws Error(data).
void write_evaluation(const std::filesystem::path& path, const Evaluation& evaluation);

/// Aligned columns: a row per disease, a macro row, then the overall figures and notes. Ends with a newline.
std::string table(const Evaluation& evaluation);

}  // namespace medfuse::evaluate
