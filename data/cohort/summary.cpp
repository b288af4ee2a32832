#include "data/cohort/summary.h"

#include <fmt/format.h>

#include <numeric>

namespace medfuse::data {
namespace {

std::string percent(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string table_line(const TableCount& table) {
  std::string line = fmt::format("{}: {} rows", table.file, table.rows);
  if (table.without_admission > 0) {
    line += fmt::format(", {} without admission id (out-patients)", table.without_admission);
  }
  if (table.without_value > 0) line += fmt::format(", {} without a usable value", table.without_value);
  if (table.bad > 0) line += fmt::format(", {} bad rows skipped", table.bad);
  return line;
}

}  // namespace

std::vector<std::string> format_summary(const PackSummary& summary) {
  std::vector<std::string> lines;
  for (const TableCount& table : summary.tables) lines.push_back(table_line(table));
  const std::int64_t samples = summary.info.samples;
  std::string line = fmt::format("{} samples of {} admissions", samples, summary.admissions);
  if (summary.left_out > 0) {
    line += fmt::format(" ({} left out: neither text nor a chosen lab)", summary.left_out);
  }
  lines.push_back(line + fmt::format(" in {} shard{}", summary.shards, summary.shards == 1 ? "" : "s"));
  lines.push_back(fmt::format("split: {} train, {} validation, {} test", summary.samples[0], summary.samples[1],
                              summary.samples[2]));
  if (samples == 0) return lines;
  lines.push_back(fmt::format("text: {:.1f} tokens on average, {} at most; {} with note sections, {} cut to {} tokens",
                              static_cast<double>(summary.tokens) / static_cast<double>(samples), summary.longest,
                              summary.with_notes, summary.truncated, summary.info.max_tokens));
  const auto labs = static_cast<std::int64_t>(summary.info.labs.size());
  lines.push_back(fmt::format("labs: {} columns, {:.1f} measured per sample ({})", labs,
                              static_cast<double>(summary.observed) / static_cast<double>(samples),
                              percent(summary.observed, samples * labs)));
  if (!summary.info.has_labels) {
    lines.push_back("labels: none");
    return lines;
  }
  for (std::size_t d = 0; d < summary.info.diseases.size(); ++d) {
    std::int64_t all = 0;
    for (const auto& split : summary.positives) all += split[d];
    lines.push_back(fmt::format("label {}: {} ({}); train {}, validation {}, test {}", summary.info.diseases[d], all,
                                percent(all, samples), summary.positives[0][d], summary.positives[1][d],
                                summary.positives[2][d]));
  }
  if (summary.undiagnosed > 0) {
    lines.push_back(fmt::format("{} samples have no row in the diagnoses table: all their labels are 0",
                                summary.undiagnosed));
  }
  return lines;
}

}  // namespace medfuse::data
