#include "src/evaluate/evaluation_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"

namespace medfuse::evaluate {
namespace {

using Json = nlohmann::ordered_json;

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json interval(const std::optional<Interval>& value) {
  return value ? Json::array({value->low, value->high}) : Json(nullptr);
}

Json parts_json(const std::optional<Disentanglement>& parts) {
  if (!parts) return nullptr;
  Json json;
  json["text_auroc"] = number(parts->text_auroc);
  json["labs_auroc"] = number(parts->labs_auroc);
  json["shared_auroc"] = number(parts->shared_auroc);
  json["mutual_information"] = parts->mutual_information;
  return json;
}

Json disease_json(const DiseaseScores& d) {
  Json json;
  json["f1"] = d.f1;
  json["precision"] = d.precision;
  json["recall"] = d.recall;
  json["accuracy"] = d.accuracy;
  json["auroc"] = number(d.auroc);
  json["auprc"] = number(d.auprc);
  json["threshold"] = d.threshold;
  json["brier"] = d.brier;
  json["calibration_error"] = d.calibration_error;
  json["positives"] = d.positives;
  json["negatives"] = d.negatives;
  json["true_positives"] = d.true_positives;
  json["false_positives"] = d.false_positives;
  json["false_negatives"] = d.false_negatives;
  json["true_negatives"] = d.true_negatives;
  return json;
}

std::string cell(const std::optional<double>& value) { return value ? fmt::format("{:.3f}", *value) : "-"; }

/// Columns that a UTF-8 text takes on a terminal, if each code point takes one.
std::size_t columns(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

Json to_json(const Evaluation& e) {
  const Scores& s = e.scores;
  Json json;
  json["split"] = e.split;
  json["samples"] = e.samples;
  json["patients"] = e.patients;
  json["data"] = e.data;
  json["stage"] = e.stage;
  json["step"] = e.step;
  json["macro_f1"] = s.macro_f1;
  json["micro_f1"] = s.micro_f1;
  json["macro_precision"] = s.macro_precision;
  json["macro_recall"] = s.macro_recall;
  json["accuracy"] = s.accuracy;
  json["macro_auroc"] = number(s.macro_auroc);
  json["macro_auprc"] = number(s.macro_auprc);
  Json& thresholds = json["threshold"] = Json::object();
  for (const DiseaseScores& d : s.diseases) thresholds[d.name] = d.threshold;
  json["micro_precision"] = s.micro_precision;
  json["micro_recall"] = s.micro_recall;
  json["exact_match"] = s.exact_match;
  json["brier"] = s.brier;
  json["calibration_error"] = s.calibration_error;
  json["macro_f1_interval"] = interval(s.macro_f1_interval);
  json["macro_auroc_interval"] = interval(s.macro_auroc_interval);
  Json& diseases = json["per_disease"] = Json::object();
  for (const DiseaseScores& d : s.diseases) diseases[d.name] = disease_json(d);
  json["disentanglement"] = parts_json(e.parts);
  json["notes"] = s.notes;
  return json;
}

void write_evaluation(const std::filesystem::path& path, const Evaluation& evaluation) {
  // A name that is not UTF-8 must not lose the scores of a long run: its bad bytes are replaced.
  write_file_atomically(path, to_json(evaluation).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string table(const Evaluation& e) {
  const Scores& s = e.scores;
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"disease", "positive", "F1", "precision", "recall", "accuracy", "AUROC", "AUPRC", "threshold"});
  for (const DiseaseScores& d : s.diseases) {
    rows.push_back({d.name, fmt::format("{}/{}", d.positives, d.positives + d.negatives), cell(d.f1), cell(d.precision),
                    cell(d.recall), cell(d.accuracy), cell(d.auroc), cell(d.auprc), cell(d.threshold)});
  }
  rows.push_back({"macro mean", "", cell(s.macro_f1), cell(s.macro_precision), cell(s.macro_recall), cell(s.accuracy),
                  cell(s.macro_auroc), cell(s.macro_auprc), ""});
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], columns(row[c]));
  }
  std::size_t total = 2 * (widths.size() - 1);
  for (const std::size_t w : widths) total += w;
  const std::string rule(total, '-');

  std::string text = fmt::format("{} split: {} samples of {} patients, {} diseases\n", e.split, e.samples, e.patients,
                                 s.diseases.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (r == 1 || r + 1 == rows.size()) text += rule + '\n';
    std::string line;
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const std::string padding(widths[c] - columns(rows[r][c]), ' ');
      line += (c ? "  " : "") + (c ? padding + rows[r][c] : rows[r][c] + padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  text += fmt::format("micro: F1 {:.3f}, precision {:.3f}, recall {:.3f}; all {} right: {:.3f} of samples; "
                      "Brier {:.4f}; calibration error {:.4f}\n",
                      s.micro_f1, s.micro_precision, s.micro_recall, s.diseases.size(), s.exact_match, s.brier,
                      s.calibration_error);
  if (s.macro_f1_interval && s.macro_auroc_interval) {
    text += fmt::format("95 % intervals (patients resampled): macro F1 {:.3f} to {:.3f}, "
                        "macro AUROC {:.3f} to {:.3f}\n",
                        s.macro_f1_interval->low, s.macro_f1_interval->high, s.macro_auroc_interval->low,
                        s.macro_auroc_interval->high);
  }
  if (e.parts) {
    text += fmt::format("parts alone (linear probes, macro AUROC): text {}, labs {}, shared {}; "
                        "vCLUB(text and labs; shared) {:.2f} nats\n",
                        cell(e.parts->text_auroc), cell(e.parts->labs_auroc), cell(e.parts->shared_auroc),
                        e.parts->mutual_information);
  }
  for (const std::string& note : s.notes) text += "note: " + note + '\n';
  return text;
}

}  // namespace medfuse::evaluate
