#include "src/train/updater.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "src/parallel/grad_norm.h"
#include "src/parallel/sharded_reducer.h"

namespace medfuse::train {

namespace {

std::optional<at::ScalarType> wire_type(const std::string& word) {
  if (word == "auto") return std::nullopt;
  if (word == "f32") return at::kFloat;
  if (word == "f64") return at::kDouble;
  if (word == "bf16") return at::kBFloat16;
  if (word == "f16") return at::kHalf;
  usage_error("parallel.reduce_dtype = '{}' is not known: auto, f32, f64, bf16, f16", word);
}

std::unique_ptr<parallel::GradientReducer> make_reducer(const std::vector<ParameterGroup>& groups,
                                                        const ParallelOptions& parallel,
                                                        const Ranks& ranks) {
  std::vector<at::Tensor> tensors;
  for (const ParameterGroup& group : groups) {
    for (const NamedTensor& parameter : group.parameters) tensors.push_back(parameter.tensor);
  }
  cluster::Communicator& communicator = ranks.device;
  const parallel::ReducerOptions options{.bucket_mib = parallel.bucket_mib,
                                         .dtype = wire_type(parallel.reduce_dtype),
                                         .shards = ranks.shards.get()};
  if (parallel.zero == 0) return parallel::make_bucketed_reducer(std::move(tensors), communicator, options);
  const auto what = parallel.zero == 1 ? parallel::Sharded::states : parallel::Sharded::gradients;
  return parallel::make_sharded_reducer(std::move(tensors), communicator, what, options);
}

}  // namespace

Updater::Updater(std::string name, std::vector<ParameterGroup> groups, const AdamWOptions& adam,
                 const ScheduleOptions& schedule, double clip, const ParallelOptions& parallel,
                 Ranks ranks)
    : name_(std::move(name)),
      reducer_(make_reducer(groups, parallel, ranks)),
      optimizer_(std::move(groups), adam, reducer_->owned()),
      schedule_(schedule),
      clip_(clip),
      ranks_(ranks) {}

double Updater::norm(const std::vector<at::Tensor>& gradients) const {
  std::vector<at::Tensor> whole;
  std::map<int, std::vector<at::Tensor>> split;  // by the number of equal copies
  const auto parameters = optimizer_.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].part) split[parameters[i].part->copies].push_back(gradients[i]);
    else whole.push_back(gradients[i]);
  }
  const auto squares = [this](const std::vector<at::Tensor>& tensors) {
    return reducer_->sum_over_owners(parallel::sum_of_squares(tensors));
  };
  const double sum = squares(whole);
  double parts = 0;
  for (const auto& [copies, tensors] : split) parts += squares(tensors) / copies;
  if (!ranks_.tensor_host) return std::sqrt(sum);
  // Ranks that hold a model together have each their own copy of what is whole. What went wrong in one of these (its
  // difference with itself is not 0 then) must keep the others from learning, too.
  const auto sums = sum_over_ranks(*ranks_.tensor_host, {parts, sum - sum});
  return std::sqrt(sum + sums[0] + sums[1]);
}

double Updater::reduce() {
  reducer_->finish();
  return norm_ = norm(reducer_->gradients());
}

void Updater::apply(std::int64_t step) {
  const double scale = clip_ > 0 ? std::min(1.0, clip_ / std::max(norm_, 1e-300)) : 1.0;
  optimizer_.step(learning_rate(step), scale, reducer_->gradients());
  reducer_->share_parameters();
  reducer_->drop_gradients();
}

std::vector<at::Tensor> Updater::changing() const {
  std::vector<at::Tensor> all;
  for (const NamedTensor& parameter : optimizer_.parameters()) all.push_back(parameter.tensor.detach());
  for (const checkpoint::ShardedTensor& tensor : optimizer_.state()) all.push_back(tensor.local);
  return all;
}

std::vector<at::Tensor> Updater::copy() const {
  std::vector<at::Tensor> all = changing();
  for (at::Tensor& tensor : all) tensor = tensor.clone();
  return all;
}

void Updater::restore(const std::vector<at::Tensor>& copy) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> all = changing();
  for (std::size_t i = 0; i < all.size(); ++i) all[i].copy_(copy[i]);
}

double Updater::learning_rate(std::int64_t step) const { return train::learning_rate(schedule_, step); }

std::vector<checkpoint::ShardedTensor> Updater::state() const {
  auto all = optimizer_.state();
  for (auto& tensor : all) tensor.name = name_ + "/" + tensor.name;
  return all;
}

}  // namespace medfuse::train
