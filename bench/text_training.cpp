#include "bench/text_training.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "src/model/lora.h"
#include "src/model/medfuse_model.h"
#include "src/train/stage_parts.h"

namespace medfuse::bench {

namespace {

std::vector<train::NamedTensor> trainable(const model::TextEncoder& text, const torch::nn::Linear& head) {
  const auto parts = model::split_parameters(text);
  std::vector<train::NamedTensor> all;
  for (const auto& item : text.named_parameters()) {
    const auto part = parts.find(item.key());
    all.push_back({item.key(), item.value(), part == parts.end() ? std::nullopt : std::optional(part->second)});
  }
  for (const auto& item : head->named_parameters()) all.push_back({"head." + item.key(), item.value()});
  return all;
}

std::shared_ptr<model::TextEncoder> make_text(const train::TrainOptions& options, const weights::LlamaConfig* shape,
                                              const train::Ranks& ranks) {
  const at::ScalarType type = model::compute_type(options.precision);
  const auto tensor = ranks.tensor_device ? train::tensor_parallel(*ranks.tensor_device, options.parallel.sequence)
                                          : model::no_tensor_parallel();
  const auto store = train::weight_store(ranks);
  if (shape == nullptr) return model::TextEncoder::load(options.text, type, options.seed, tensor, store);
  return std::make_shared<model::TextEncoder>(options.text, *shape, type, options.seed, tensor, store,
                                              ranks.device.device());
}

train::Ranks with_shards(const train::TrainOptions& options, train::Ranks ranks) {
  if (options.parallel.zero == 3) ranks.shards = train::make_shards(ranks);
  return ranks;
}

}  // namespace

TextTraining::TextTraining(const train::TrainOptions& options, const TextWork& work, train::Ranks given)
    : TextTraining(options, nullptr, work, with_shards(options, given)) {}

TextTraining::TextTraining(const train::TrainOptions& options, const weights::LlamaConfig& shape, const TextWork& work,
                           train::Ranks given)
    : TextTraining(options, &shape, work, with_shards(options, given)) {}

TextTraining::TextTraining(const train::TrainOptions& options, const weights::LlamaConfig* shape, const TextWork& work,
                           train::Ranks ranks)
    : text_(make_text(options, shape, ranks)),
      head_(text_->width(), diseases),
      decisions_(static_cast<double>(work.texts * ranks.size() * diseases)) {
  const at::Device device = ranks.device.device();
  text_->set_recompute(model::recompute_mode(options.recompute));
  text_->to(device);
  head_->to(device);
  {
    const torch::NoGradGuard no_grad;  // copies of one head are the same
    head_->weight.zero_();
    head_->bias.zero_();
  }
  torch::manual_seed(1 + ranks.rank());
  tokens_BL_ = at::randint(text_->config().vocab_size, {work.texts, work.tokens}, at::kLong).to(device);
  lengths_B_ = at::full({work.texts}, work.tokens, at::kLong);
  labels_BK_ = at::randint(2, {work.texts, diseases}, at::kFloat).to(device);
  keys_B_ = at::randint(1 << 30, {work.texts}, at::kLong).to(device);
  updater_ = std::make_unique<train::Updater>(
      "text", std::vector<train::ParameterGroup>{{trainable(*text_, head_), 1, options.weight_decay}}, options.adam,
      train::schedule(options, options.learning_rate, 1000), options.clip, options.parallel, ranks);
}

void TextTraining::step() {
  const at::Tensor embedding_BD = text_->embed(tokens_BL_, lengths_B_, {keys_B_});
  const at::Tensor loss = train::label_loss_sum(head_->forward(embedding_BD.to(at::kFloat)), labels_BK_) / decisions_;
  updater_->prepare(/*last=*/true);
  loss.backward();
  const double norm = updater_->reduce();
  if (!std::isfinite(norm)) numeric_error("the gradient's norm is {} in step {}", norm, steps_);
  updater_->apply(steps_++);
}

train::TrainOptions demo_options() {
  train::TrainOptions options;
  const char* const folder = std::getenv("MEDFUSE_SMOLLM2");
  options.text.model = folder != nullptr ? folder : ".deps/weights/smollm2-135m";
  options.text.layers = 6;
  options.text.lora = {.rank = 8, .alpha = 16, .layers = "last:2"};
  options.learning_rate = 5e-4;
  return options;
}

}  // namespace medfuse::bench
