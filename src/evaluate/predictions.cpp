#include "src/evaluate/predictions.h"

#include <fmt/format.h>

#include <iterator>
#include <stdexcept>

#include "base/error.h"
#include "base/files.h"

namespace medfuse::evaluate {
namespace {

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace

void check(const Predictions& predictions) {
  const std::size_t n = predictions.size();
  const std::size_t k = predictions.diseases.size();
  if (predictions.patients.size() != n && !predictions.patients.empty()) {
    throw std::logic_error(fmt::format("{} patients for {} admissions", predictions.patients.size(), n));
  }
  if (predictions.probabilities.size() != n * k) {
    throw std::logic_error(fmt::format("{} probabilities for {} admissions and {} diseases",
                                       predictions.probabilities.size(), n, k));
  }
  if (!predictions.labels.empty() && predictions.labels.size() != n * k) {
    throw std::logic_error(fmt::format("{} labels for {} admissions and {} diseases", predictions.labels.size(), n, k));
  }
  for (std::size_t i = 0; i < n * k; ++i) {
    const double p = predictions.probabilities[i];
    if (!(p >= 0 && p <= 1)) {  // also where it is not a number
      numeric_error("admission {}, disease '{}': the model predicts {}, which is no probability: "
                    "go back to an earlier checkpoint or lower the learning rate",
                    predictions.admissions[i / k], predictions.diseases[i % k], p);
    }
  }
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    if (predictions.labels[i] > 1) {
      data_error("admission {}, disease '{}': label {} is neither 0 nor 1: pack the data again",
                 predictions.admissions[i / k], predictions.diseases[i % k], predictions.labels[i]);
    }
  }
}

void check_labelled(const Predictions& predictions) {
  check(predictions);
  if (predictions.size() == 0 || predictions.diseases.empty()) {
    data_error("nothing to score: {} samples and {} diseases: choose another split or pack more data",
               predictions.size(), predictions.diseases.size());
  }
  if (predictions.labels.empty()) {
    data_error("nothing to score against: the data holds no labels: pack it with diagnoses, or use `medfuse predict`");
  }
}

void write_predictions(const std::filesystem::path& path, const Predictions& predictions) {
  check(predictions);
  const std::size_t k = predictions.diseases.size();
  std::string csv = "admission";
  for (const std::string& disease : predictions.diseases) csv += ',' + csv_field(disease);
  csv += '\n';
  auto out = std::back_inserter(csv);
  for (std::size_t n = 0; n < predictions.size(); ++n) {
    fmt::format_to(out, "{}", predictions.admissions[n]);
    for (std::size_t d = 0; d < k; ++d) {
      fmt::format_to(out, ",{}", static_cast<float>(predictions.probabilities[n * k + d]));
    }
    csv += '\n';
  }
  write_file_atomically(path, csv);
}

}  // namespace medfuse::evaluate
