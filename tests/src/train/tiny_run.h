// A whole training run in miniature: random data, a random tiny Llama, both stages. What the oracle and resume tests run.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/packed/info_json.h"
#include "data/packed/reader.h"
#include "data/packed/writer.h"
#include "src/model/medfuse_model.h"
#include "src/parallel/weight_shards.h"
#include "src/train/encoders_stage.h"
#include "src/train/fusion_stage.h"
#include "src/train/run_model.h"
#include "src/train/trainer.h"

namespace medfuse::train::tiny {

namespace fs = std::filesystem;

/// A folder that goes with the object; every rank has its own.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (fs::temp_directory_path() / "medfuse-tiny-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() { fs::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline constexpr std::int64_t vocabulary = 40;
inline constexpr std::int64_t diseases = 3;
inline constexpr std::int64_t lab_columns = 5;

/// The same samples on every call: texts of 2 to 11 tokens, labs with holes, one row without any lab, labels that mean
/// nothing. `edit` may change each sample before it is written.
inline void write_data(const fs::path& folder, std::int64_t samples = 19,
                       const std::function<void(data::Sample&)>& edit = {}) {
  std::mt19937_64 random(7);
  data::PackedIndex index;
  data::PackedInfo& info = index.info;
  for (std::int64_t k = 0; k < diseases; ++k) info.diseases.push_back("disease" + std::to_string(k));
  for (std::int64_t c = 0; c < lab_columns; ++c) info.labs.push_back({100 + c, "lab" + std::to_string(c), "u", 0.0, 1.0});
  info.tokenizer = "none";
  info.tokenizer_fingerprint = "0000000000000000";
  info.vocabulary = vocabulary;
  info.max_tokens = 16;
  info.lab_value = "last";
  info.samples = samples;
  std::vector<data::Sample> all;
  for (std::int64_t i = 0; i < samples; ++i) {
    data::Sample sample;
    sample.admission = 1000 + 3 * i;
    sample.patient = i;
    for (std::uint64_t t = 0; t < 2 + random() % 10; ++t) sample.tokens.push_back(static_cast<int>(random() % vocabulary));
    for (std::int64_t c = 0; c < lab_columns; ++c) {
      const bool seen = i != 4 && random() % 4 != 0;
      sample.observed.push_back(seen);
      sample.labs.push_back(seen ? static_cast<float>(random() % 1000) / 1000.0f : 0.0f);
    }
    for (std::int64_t k = 0; k < diseases; ++k) sample.labels.push_back(random() % 2);
    if (edit) edit(sample);
    all.push_back(std::move(sample));
  }
  index.shards.push_back(data::write_shard(folder, 0, info, all));
  data::write_index(folder, index);
}

inline TrainOptions options(const std::string& precision) {
  TrainOptions o;
  o.checkpoint_background = false;  // so that tests know which one is complete when a run breaks off
  o.batch = 6;
  o.micro_batch = 64;
  o.seed = 5;
  o.precision = precision;
  o.learning_rate = 1e-2;
  o.text.lora.rank = 4;
  o.text.lora.dropout = 0.1;
  o.labs = {.width = 16, .encoder_layers = 2, .decoder_layers = 1, .heads = 2, .mask_ratio = 0.5, .dropout = 0.1};
  o.fusion.width = 16;
  o.fusion.heads = 2;
  o.fusion.kronecker = 4;
  o.fusion.estimator_width = 16;
  o.fusion.mutual_information = 5;  // enough to be seen in every parameter
  o.encoders.length = {.steps = 10, .epochs = 0};
  o.fusion_stage.estimator_learning_rate = 0.05;  // quick enough that the mutual-information loss takes part
  o.fusion_stage.estimator_steps = 1;
  o.encoders.lab_batch = 8;
  o.fusion_stage.length = {.steps = 10, .epochs = 0};
  return o;
}

/// Twelve heads, so that every small tensor degree divides them; the number of key/value heads must divide twelve.
inline weights::LlamaConfig llama(std::int64_t key_heads = 2) {
  weights::LlamaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 12;
  config.num_key_value_heads = key_heads;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  return config;
}

/// With the weights of `o.text.model`, or random ones.
inline std::unique_ptr<model::MedfuseModel> make_model(
    const TrainOptions& o, const data::PackedInfo& info,
    const model::TensorParallelPtr& ranks = model::no_tensor_parallel(), std::int64_t key_heads = 2,
    const model::WeightStorePtr& store = nullptr) {
  const at::ScalarType type = model::compute_type(o.precision);
  const auto text = o.text.model.empty()
                        ? std::make_shared<model::TextEncoder>(o.text, llama(key_heads), type, o.seed, ranks, store)
                        : model::TextEncoder::load(o.text, type, o.seed, ranks, store);
  text->cache_frozen_states(o.text_cache_mib << 20);
  return std::make_unique<model::MedfuseModel>(model_options(o, info), text);
}

using Parameters = std::vector<std::pair<std::string, at::Tensor>>;

struct Run {
  Outcome outcome = Outcome::not_begun;
  std::vector<std::string> messages;
  std::vector<std::pair<Part, std::string>> parts;  ///< what it was about, one after the other
  std::shared_ptr<model::MedfuseModel> model;
  Parameters parameters;
  std::vector<double> losses;
  std::vector<double> norms;        ///< gradient norm of each step
  std::vector<double> information;  ///< vCLUB estimate of each fusion step
  std::shared_ptr<parallel::WeightShards> shards;  ///< of the text encoder's weights, if ranks share them
};

/// The parameter with its content, wherever that lies. Collective.
inline at::Tensor fetched(const at::Tensor& parameter, const Run& run) {
  if (const auto part = run.shards ? run.shards->part_of(parameter) : std::nullopt) {
    run.shards->fetch(part->unit, std::nullopt);
  }
  return parameter.detach();
}

/// Trains to the end, or to where `stop` says. `after_step` may throw, to break a run off.
inline Run train(const TrainOptions& o, const data::PackedReader& reader, Ranks ranks, const fs::path& checkpoints,
                 std::int64_t checkpoint_every = 0, const std::function<void(const StepRecord&)>& after_step = {},
                 std::int64_t key_heads = 2, StopRequests* stop = nullptr) {
  const auto tensor_ranks = ranks.tensor_device ? tensor_parallel(*ranks.tensor_device, o.parallel.sequence)
                                                : model::no_tensor_parallel();
  if (o.parallel.zero == 3) ranks.shards = make_shards(ranks);
  const std::shared_ptr<model::MedfuseModel> model =
      make_model(o, reader.info(), tensor_ranks, key_heads, weight_store(ranks));
  std::vector<Trainer::StagePlan> plans = {
      {"encoders", EncodersStage::count_steps(o, reader),
       [&] { return std::make_unique<EncodersStage>(o, *model, reader, ranks); }},
      {"fusion", FusionStage::count_steps(o, reader),
       [&] { return std::make_unique<FusionStage>(o, *model, reader, ranks); }}};
  Run run;
  run.model = model;
  run.shards = ranks.shards;
  Observer observer;
  observer.stepped = [&](const StepRecord& record) {
    run.losses.push_back(record.loss);
    run.norms.push_back(record.gradient_norm);
    for (const auto& [name, value] : record.others) {
      if (name == "mutual_information") run.information.push_back(value);
    }
    if (after_step) after_step(record);
  };
  observer.entered = [&](Part part, const std::string& what) { run.parts.emplace_back(part, what); };
  observer.message = [&](const std::string& line) { run.messages.push_back(line); };
  Trainer trainer({.checkpoints = {checkpoints, {.keep = 2}, ""}, .checkpoint_every = checkpoint_every, .background = o.checkpoint_background,
                   .stop = stop},
                  std::move(plans), trainable_blocks(*model, ranks.shards.get()), ranks,
                  observer);
  run.outcome = trainer.run();
  for (const auto& [name, tensor] : model->trainable()) run.parameters.emplace_back(name, fetched(tensor, run).clone());
  return run;
}

/// The parameters put together from the parts that the ranks of the tensor dimension hold.
inline Parameters whole(const Run& run, Ranks ranks) {
  Parameters all;
  for (const NamedTensor& parameter : trainable_parts(*run.model)) {
    const at::Tensor mine = fetched(parameter.tensor, run).contiguous();
    if (!parameter.part) {
      all.emplace_back(parameter.name, mine.clone());
      continue;
    }
    const auto& [dim, span, copies] = *parameter.part;
    const at::Tensor parts = at::empty({ranks.tensor_device->size(), mine.size(0), mine.size(1)}, mine.options());
    ranks.tensor_device->all_gather(parts, mine)->wait();
    std::vector<at::Tensor> different;
    for (int rank = 0; rank < ranks.tensor_device->size(); rank += copies) different.push_back(parts[rank]);
    all.emplace_back(parameter.name, at::cat(different, dim));
  }
  return all;
}

/// The shortest of the steps that parameters may take: whichever stage moves one, a difference as long as that is seen.
inline double smallest_rate(const TrainOptions& o) {
  return std::min({o.learning_rate, o.encoders.lab_learning_rate, o.fusion_stage.learning_rate,
                   o.fusion_stage.estimator_learning_rate});
}

/// Largest max|a - b| / max(max|b|, smallest rate) over the tensors, and the name of that tensor; that of the first one
/// that is not finite, if there is any. Throws std::logic_error if they are not the same tensors.
inline std::pair<double, std::string> distance(const Parameters& a, const Parameters& b, const TrainOptions& o) {
  if (a.size() != b.size()) throw std::logic_error("distance: other numbers of parameters");
  std::pair<double, std::string> worst = {0, "none"};
  for (std::size_t i = 0; i < b.size(); ++i) {
    const auto& [name, expected] = b[i];
    if (a[i].first != name || a[i].second.sizes() != expected.sizes()) {
      throw std::logic_error("distance: " + a[i].first + " is not " + name + ", or not of its shape");
    }
    const double scale = std::max(expected.abs().max().item<double>(), smallest_rate(o));
    const double difference = (a[i].second - expected).abs().max().item<double>() / scale;
    if (!std::isfinite(difference)) return {difference, name};
    if (difference > worst.first) worst = {difference, name};
  }
  return worst;
}

}  // namespace medfuse::train::tiny
