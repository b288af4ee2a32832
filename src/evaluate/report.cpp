#include "src/evaluate/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "base/files.h"
#include "src/evaluate/columns.h"
#include "src/evaluate/curves.h"
#include "src/evaluate/plots.h"
#include "src/evaluate/report_style.h"
#include "src/evaluate/training_curves.h"

namespace medfuse::evaluate {
namespace {

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  }
  return result;
}

std::string number(const std::optional<double>& value) { return value ? fmt::format("{:.3f}", *value) : "&#8211;"; }

/// A small picture with its caption; `plot` is its index in the list of plots to draw, or -1 with a reason.
struct Panel {
  std::string title;
  std::string figure;
  std::string reason;
  int plot = -1;
};

struct Section {
  std::string id;
  std::string heading;
  std::string how;                                            ///< HTML: how to read the plots
  bool wide = false;
  std::vector<std::pair<std::string, std::vector<Panel>>> groups;  ///< subheading (may be empty) and its panels
};

class Page {
 public:
  /// Adds a plot to draw and returns its panel.
  Panel panel(std::string title, std::string figure, Plot plot) {
    plots_.push_back(std::move(plot));
    return {std::move(title), std::move(figure), "", static_cast<int>(plots_.size()) - 1};
  }
  void add(Section section) { sections_.push_back(std::move(section)); }

  /// Draws everything at once. Returns the reason in one line where that fails.
  std::string draw_all(const std::string& gnuplot) {
    try {
      drawn_ = draw(plots_, gnuplot);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }

  std::string sections() const {
    std::string html;
    auto out = std::back_inserter(html);
    for (const Section& section : sections_) {
      fmt::format_to(out, "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"how\">{}</p>\n", section.id, section.heading,
                     section.how);
      for (const auto& [heading, panels] : section.groups) {
        if (!heading.empty()) fmt::format_to(out, "<h3>{}</h3>\n", escaped(heading));
        fmt::format_to(out, "<div class=\"grid{}\">\n", section.wide ? " wide" : "");
        for (const Panel& p : panels) {
          fmt::format_to(out, "<figure><figcaption><b title=\"{0}\">{0}</b><span>{1}</span></figcaption>\n",
                         escaped(p.title), p.figure);
          if (p.plot >= 0) html += drawn_.at(static_cast<std::size_t>(p.plot));
          else fmt::format_to(out, "<div class=\"none\">{}</div>", p.reason);
          html += "</figure>\n";
        }
        html += "</div>\n";
      }
      html += "</section>\n";
    }
    return html;
  }

 private:
  std::vector<Plot> plots_;
  std::vector<Section> sections_;
  std::vector<std::string> drawn_;
};

void add_disease_sections(Page& page, const Evaluation& evaluation, const Predictions& predictions) {
  const std::string dot = "The <span class=\"key mark\">dot</span> is the chosen threshold";
  Section roc{"roc", "ROC curves",
              dot + "; the <span class=\"key guide\">dashed line</span> is chance.", false, {{"", {}}}};
  Section recall{"precision-recall", "Precision-recall curves",
                 dot + "; the <span class=\"key guide\">dashed line</span> is the share of positives, which is chance.",
                 false, {{"", {}}}};
  Section calibration{"calibration", "Calibration",
                      "<span class=\"key curve\">Points</span>: share of positives among the samples of a tenth of the "
                      "probability range, with 95&#160;% Wilson intervals. On the <span class=\"key guide\">dashed "
                      "line</span> predictions are calibrated. Grey bars: share of all samples in each tenth.",
                      false, {{"", {}}}};
  for (std::size_t d = 0; d < predictions.diseases.size(); ++d) {
    const DiseaseScores& scores = evaluation.scores.diseases[d];
    const Column c = column(predictions, d);
    const std::vector<Cut> all = cuts(c.probabilities, c.labels);
    const std::string why = scores.positives ? "no negative sample" : "no positive sample";
    roc.groups[0].second.push_back(scores.auroc
                                       ? page.panel(scores.name, "AUROC " + number(scores.auroc), roc_plot(all, scores))
                                       : Panel{scores.name, "AUROC undefined", why});
    recall.groups[0].second.push_back(
        scores.auprc ? page.panel(scores.name, "AUPRC " + number(scores.auprc), precision_recall_plot(all, scores))
                     : Panel{scores.name, "AUPRC undefined", why});
    calibration.groups[0].second.push_back(
        page.panel(scores.name, "ECE " + number(scores.calibration_error),
                   calibration_plot(calibration_bins(c.probabilities, c.labels))));
  }
  page.add(std::move(roc));
  page.add(std::move(recall));
  page.add(std::move(calibration));
}

/// How a key of metrics.jsonl is called on the page.
std::string readable(const std::string& name) {
  if (name == "grad_norm") return "Gradient norm (before clipping)";
  if (name == "tokens_per_second") return "Tokens per second";
  if (name == "samples_per_second") return "Samples per second";
  std::string text = name;
  std::replace(text.begin(), text.end(), '_', ' ');
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

/// Losses first, then learning rates, gradient norms, the rest, and speed last.
int order(const std::string& name) {
  if (name == "loss") return 0;
  if (name.ends_with("loss")) return 1;
  if (name.find("learning_rate") != std::string::npos) return 2;
  if (name.find("norm") != std::string::npos) return 3;
  return name.ends_with("per_second") ? 5 : 4;
}

/// Returns whether there were curves to draw.
bool add_training_section(Page& page, const std::filesystem::path& metrics) {
  std::vector<TrainingCurve> curves = read_training_curves(metrics);
  if (curves.empty()) return false;
  Section section{"training", "Training curves",
                  "Faint: every step (or means of neighbouring steps in long runs); "
                  "<span class=\"key curve\">strong</span>: smoothed.",
                  true, {}};
  for (const TrainingCurve& curve : curves) {
    if (section.groups.empty() || std::none_of(section.groups.begin(), section.groups.end(), [&](const auto& g) {
          return g.first == "Stage " + curve.stage;
        })) {
      section.groups.push_back({"Stage " + curve.stage, {}});
    }
  }
  std::stable_sort(curves.begin(), curves.end(),
                   [](const auto& a, const auto& b) { return order(a.name) < order(b.name); });
  for (const TrainingCurve& curve : curves) {
    const bool varies = std::any_of(curve.points.begin(), curve.points.end(),
                                    [](const Point& p) { return p.y != 0; });
    if (!varies && order(curve.name) > 1) continue;  // a figure that this stage does not have
    for (auto& [heading, panels] : section.groups) {
      if (heading != "Stage " + curve.stage) continue;
      const std::string last =
          fmt::format("last {:.4g}{}", curve.points.back().y, wide_range(curve) ? ", log scale" : "");
      panels.push_back(page.panel(readable(curve.name), last, training_plot(curve)));
    }
  }
  page.add(std::move(section));
  return true;
}

std::string tile(const std::string& name, const std::string& value, const std::string& more) {
  return fmt::format("<div class=\"tile\"><span>{}</span><b>{}</b><span>{}</span></div>\n", name, value, more);
}

std::string tiles(const Scores& s) {
  const auto interval = [](const std::optional<Interval>& i) {
    return i ? fmt::format("95&#160;%: {:.3f}&#8211;{:.3f}", i->low, i->high) : std::string("&#160;");
  };
  return "<div class=\"tiles\">\n" + tile("Macro F1", number(s.macro_f1), interval(s.macro_f1_interval)) +
         tile("Macro AUROC", number(s.macro_auroc), interval(s.macro_auroc_interval)) +
         tile("Macro AUPRC", number(s.macro_auprc), "average precision") +
         tile("Micro F1", number(s.micro_f1),
              fmt::format("precision {:.3f}, recall {:.3f}", s.micro_precision, s.micro_recall)) +
         tile("Accuracy", number(s.accuracy), fmt::format("all diseases right: {:.3f}", s.exact_match)) +
         tile("Calibration error", number(s.calibration_error), fmt::format("Brier score {:.4f}", s.brier)) +
         "</div>\n";
}

std::string scores_table(const Scores& s) {
  std::string html =
      "<div class=\"table\"><table>\n<thead><tr><th>Disease</th><th>Positives</th><th>F1</th><th>Precision</th>"
      "<th>Recall</th><th>Accuracy</th><th>AUROC</th><th>AUPRC</th><th>Brier</th><th>ECE</th><th>Threshold</th></tr>"
      "</thead>\n<tbody>\n";
  auto out = std::back_inserter(html);
  const auto cells = [&](std::initializer_list<std::optional<double>> values) {
    for (const auto& value : values) fmt::format_to(out, "<td>{}</td>", number(value));
  };
  for (const DiseaseScores& d : s.diseases) {
    fmt::format_to(out, "<tr><th>{}</th><td>{} ({:.1f}&#160;%)</td>", escaped(d.name), d.positives,
                   100.0 * static_cast<double>(d.positives) / static_cast<double>(d.positives + d.negatives));
    cells({d.f1, d.precision, d.recall, d.accuracy, d.auroc, d.auprc, d.brier, d.calibration_error, d.threshold});
    html += "</tr>\n";
  }
  html += "</tbody>\n<tfoot><tr><th>Macro mean</th><td></td>";
  cells({s.macro_f1, s.macro_precision, s.macro_recall, s.accuracy, s.macro_auroc, s.macro_auprc, s.brier,
         s.calibration_error});
  html += "<td></td></tr></tfoot>\n</table></div>\n";
  if (!s.notes.empty()) {
    html += "<h3>Notes</h3>\n<ul>\n";
    for (const std::string& note : s.notes) fmt::format_to(out, "<li>{}</li>\n", escaped(note));
    html += "</ul>\n";
  }
  return html;
}

std::string parts_table(const Disentanglement& parts) {
  return fmt::format(
      "<section id=\"parts\">\n<h2>What the parts say alone</h2>\n<p class=\"how\">Macro AUROC of a linear probe on one "
      "part of the fusion, fitted on the validation split. A low mutual information counts only if the shared part still "
      "predicts.</p>\n<div class=\"table\"><table>\n<thead><tr><th>Text only (S<sub>A</sub>)</th><th>Labs only "
      "(S<sub>B</sub>)</th><th>Shared (S<sub>C</sub>)</th><th>vCLUB of specific and shared parts</th></tr></thead>\n"
      "<tbody><tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2f} nats</td></tr></tbody>\n</table></div>\n</section>\n",
      number(parts.text_auroc), number(parts.labs_auroc), number(parts.shared_auroc), parts.mutual_information);
}

constexpr const char* kDefinitions =
    "<section id=\"definitions\">\n<h2>How the figures are defined</h2>\n<dl>\n"
    "<dt>Thresholds</dt><dd>Per disease the probability with the highest F1 on the validation split; the split shown "
    "here has no say in them.</dd>\n"
    "<dt>Macro and micro</dt><dd>Macro figures are means over diseases, each counting the same; micro figures come "
    "from the sums of right and wrong decisions over all diseases. A ratio without a denominator counts as 0.</dd>\n"
    "<dt>Accuracy</dt><dd>Share of right decisions among all pairs of sample and disease.</dd>\n"
    "<dt>AUROC and AUPRC</dt><dd>Area under the ROC curve, ties counting one half; average precision without "
    "interpolation. Diseases that lack positives or negatives here are left out of the means.</dd>\n"
    "<dt>Brier score and ECE</dt><dd>Mean squared difference of probability and truth; expected calibration error over "
    "ten bins of equal width.</dd>\n"
    "<dt>Intervals</dt><dd>95&#160;% percentile bootstrap, drawing patients with replacement; thresholds and model "
    "stay.</dd>\n"
    "<dt>Mutual information</dt><dd>Variational upper bound vCLUB by an estimator that training never saw, fitted on the "
    "validation split.</dd>\n</dl>\n</section>\n";

}  // namespace

std::string write_report(const std::filesystem::path& path, const Evaluation& evaluation,
                         const Predictions& predictions, const ReportOptions& options) {
  check_labelled(predictions);
  if (evaluation.scores.diseases.size() != predictions.diseases.size()) {
    throw std::logic_error("write_report: scores of other predictions");
  }
  Page page;
  add_disease_sections(page, evaluation, predictions);
  const bool trained = add_training_section(page, options.metrics);
  const std::string failure = page.draw_all(options.gnuplot);

  const std::string title = escaped(options.title);
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{}</h1>\n<p class=\"soft\">{} split: {} samples of {} patients, {} "
      "diseases",
      title, kReportStyle, title, escaped(evaluation.split), evaluation.samples, evaluation.patients,
      predictions.diseases.size());
  auto out = std::back_inserter(html);
  if (!evaluation.stage.empty()) {
    fmt::format_to(out, "; model after step {} of stage {}", evaluation.step, escaped(evaluation.stage));
  }
  html += "</p>\n</header>\n";
  if (!failure.empty()) {
    fmt::format_to(out, "<p class=\"warning\">This report has no pictures, because gnuplot could not draw them: {}. "
                        "Evaluate again once it works.</p>\n", escaped(failure));
  }
  html += "<section id=\"scores\">\n<h2>Scores</h2>\n" + tiles(evaluation.scores) +
          "<h3>By disease</h3>\n" + scores_table(evaluation.scores) + "</section>\n";
  if (evaluation.parts) html += parts_table(*evaluation.parts);
  if (failure.empty()) {
    html += plot_markers() + page.sections();
    if (!trained) {
      html += "<section id=\"training\">\n<h2>Training curves</h2>\n<p class=\"how\">This run has no "
              "metrics.jsonl to draw.</p>\n</section>\n";
    }
  }
  html += std::string(kDefinitions) + "</main>\n</body>\n</html>\n";
  write_file_atomically(path, html);
  return failure.empty() ? "" : "report without pictures: " + failure;
}

}  // namespace medfuse::evaluate
