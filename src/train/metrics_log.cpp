#include "src/train/metrics_log.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/files.h"

namespace medfuse::train {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path) : file_(Descriptor::open_to_append(path)) {}

void MetricsLog::append(const StepMetrics& metrics) {
  Json json;
  json["stage"] = metrics.stage;
  json["step"] = metrics.step;
  json["epoch"] = number(metrics.epoch);
  json["loss"] = number(metrics.loss);
  json["learning_rate"] = number(metrics.learning_rate);
  json["grad_norm"] = number(metrics.grad_norm);
  json["tokens_per_second"] = number(metrics.tokens_per_second);
  json["samples_per_second"] = number(metrics.samples_per_second);
  json["seconds"] = number(metrics.seconds);
  for (const auto& [name, value] : metrics.more) json[name] = number(value);
  const std::string line = json.dump() + '\n';
  file_.append(line.data(), line.size());
}

std::int64_t cut_back_metrics(const std::filesystem::path& path, const std::vector<std::string>& stages,
                              const std::string& stage, std::int64_t step) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return 0;
  const auto place = [&](const std::string& name) { return std::find(stages.begin(), stages.end(), name); };
  const auto here = place(stage);
  if (here == stages.end()) throw std::logic_error("cut_back_metrics: '" + stage + "' is none of the stages");

  const std::string content = read_file(path);
  std::string kept;
  std::int64_t damaged = 0;
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;  // torn: every whole line ends with a newline
    const std::string_view line(content.data() + begin, end - begin);
    begin = end + 1;
    const Json json = Json::parse(line, nullptr, false);
    const auto name = json.is_object() ? json.find("stage") : json.end();
    const auto at = json.is_object() ? json.find("step") : json.end();
    if (name == json.end() || !name->is_string() || at == json.end() || !at->is_number_integer()) {
      ++damaged;
      continue;
    }
    const auto there = place(name->get<std::string>());
    // A stage that this run does not have was before all of them (an earlier configuration): its lines stay.
    if (there == stages.end() || there < here || (there == here && at->get<std::int64_t>() <= step)) {
      kept.append(line).push_back('\n');
    }
  }
  if (kept.size() != content.size()) write_file_atomically(path, kept);
  return damaged;
}

}  // namespace medfuse::train
