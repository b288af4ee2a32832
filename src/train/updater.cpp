#include "src/train/updater.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "src/parallel/grad_norm.h"

namespace medfuse::train {

namespace {

std::vector<at::Tensor> tensors_of(const AdamW& optimizer) {
  std::vector<at::Tensor> tensors;
  for (const auto& parameter : optimizer.parameters()) tensors.push_back(parameter.tensor);
  return tensors;
}

std::optional<at::ScalarType> wire_type(const std::string& word) {
  if (word == "auto") return std::nullopt;
  if (word == "f32") return at::kFloat;
  if (word == "f64") return at::kDouble;
  if (word == "bf16") return at::kBFloat16;
  if (word == "f16") return at::kHalf;
  usage_error("parallel.reduce_dtype = '{}' is not known: auto, f32, f64, bf16, f16", word);
}

}  // namespace

Updater::Updater(std::string name, std::vector<ParameterGroup> groups, const AdamWOptions& adam,
                 const ScheduleOptions& schedule, double clip, const ParallelOptions& parallel,
                 Ranks ranks)
    : name_(std::move(name)),
      optimizer_(std::move(groups), adam),
      schedule_(schedule),
      clip_(clip),
      reducer_(parallel::make_bucketed_reducer(
          tensors_of(optimizer_), ranks.device,
          {.bucket_mib = parallel.bucket_mib, .dtype = wire_type(parallel.reduce_dtype)})),
      ranks_(ranks) {}

double Updater::norm() const {
  std::vector<at::Tensor> whole;
  std::map<int, std::vector<at::Tensor>> split;  // by the number of equal copies
  for (const auto& parameter : optimizer_.parameters()) {
    if (parameter.part) split[parameter.part->copies].push_back(parameter.tensor);
    else whole.push_back(parameter.tensor);
  }
  const double of_whole = parallel::gradient_norm(whole);
  if (split.empty()) return of_whole;
  double squares = 0;
  for (const auto& [copies, tensors] : split) squares += std::pow(parallel::gradient_norm(tensors), 2) / copies;
  return std::sqrt(of_whole * of_whole + sum_over_ranks(*ranks_.tensor_host, {squares})[0]);
}

double Updater::update(std::int64_t step) {
  reducer_->finish();
  const double norm = this->norm();
  if (std::isfinite(norm)) {
    const double scale = clip_ > 0 ? std::min(1.0, clip_ / std::max(norm, 1e-300)) : 1.0;
    optimizer_.step(learning_rate(step), scale);
  }
  optimizer_.zero_grad();
  return norm;
}

double Updater::learning_rate(std::int64_t step) const { return train::learning_rate(schedule_, step); }

std::vector<NamedTensor> Updater::state() const {
  std::vector<NamedTensor> all;
  for (const auto& tensor : optimizer_.state()) all.push_back({name_ + "/" + tensor.name, tensor.tensor, tensor.part});
  return all;
}

}  // namespace medfuse::train
