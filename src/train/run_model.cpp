#include "src/train/run_model.h"

#include <vector>

#include "base/checksum.h"
#include "base/error.h"
#include "base/files.h"
#include "src/checkpoint/reader.h"
#include "src/model/lora.h"
#include "src/parallel/weight_shards.h"
#include "src/train/run_checkpoints.h"
#include "src/train/run_folder.h"

namespace medfuse::train {
namespace fs = std::filesystem;

model::ModelOptions model_options(const TrainOptions& options, const data::PackedInfo& info) {
  model::ModelOptions model;
  model.text = options.text;
  model.labs = options.labs;
  model.fusion = options.fusion;
  model.precision = options.precision;
  model.recompute = options.recompute;
  model.seed = options.seed;
  model.lab_columns = std::ssize(info.labs);
  model.diseases = std::ssize(info.diseases);
  return model;
}

void check_tokenizer(const data::PackedInfo& info, const std::string& data, const std::string& model_folder,
                     std::int64_t vocabulary) {
  const fs::path tokenizer = fs::path(model_folder) / "tokenizer.json";
  if (!fs::exists(tokenizer)) {
    data_error("{}: is missing, and the data in {} cannot be checked against it; copy the model's tokenizer there",
               tokenizer.string(), data);
  }
  const std::string fingerprint = hex(file_checksum(tokenizer));
  if (fingerprint != info.tokenizer_fingerprint) {
    data_error("data.path {}: was packed with another tokenizer ({}) than that of text.model {}; pack again with it", data,
               info.tokenizer, model_folder);
  }
  if (info.vocabulary > vocabulary) {
    data_error("text.model {}: its vocabulary of {} has no place for the tokenizer's {} ids; give the weights that belong "
               "to the tokenizer", model_folder, vocabulary, info.vocabulary);
  }
}

void check_same_inputs(const data::PackedInfo& info, const data::PackedInfo& trained, const std::string& data) {
  const auto refuse = [&](const std::string& what) {
    data_error("{}: {} than the run was trained with; pack it with `medfuse pack --like RUN`", data, what);
  };
  if (info.tokenizer_fingerprint != trained.tokenizer_fingerprint) refuse("was packed with another tokenizer");
  if (info.labs.size() != trained.labs.size()) {
    refuse(fmt::format("has {} lab columns, other", info.labs.size()));
  }
  for (std::size_t i = 0; i < info.labs.size(); ++i) {
    const auto& mine = info.labs[i];
    const auto& theirs = trained.labs[i];
    if (mine.item != theirs.item || mine.low != theirs.low || mine.high != theirs.high) {
      refuse(fmt::format("lab column {} ({}) is another item or scaled otherwise", i, mine.name));
    }
  }
  // Sections that the run did not see may name the diseases outright.
  if (info.sections != trained.sections || info.categories != trained.categories) refuse("holds other note sections");
  if (info.abnormal_labs != trained.abnormal_labs) refuse("treats abnormal labs in the text otherwise");
  if (info.lab_value != trained.lab_value || info.window_hours != trained.window_hours) {
    refuse("takes lab values of another kind or time window");
  }
  if (info.max_tokens > trained.max_tokens) refuse("holds longer texts");
  if (info.has_labels && info.diseases != trained.diseases) refuse("names other diseases");
}

std::vector<NamedTensor> trainable_parts(const model::MedfuseModel& model, const std::vector<std::string>& prefixes) {
  const auto parts = model::split_parameters(model);
  std::vector<NamedTensor> all;
  for (const auto& [name, tensor] : model.trainable(prefixes)) {
    const auto found = parts.find(name);
    all.push_back({name, tensor, found == parts.end() ? std::nullopt : std::optional(found->second)});
  }
  return all;
}

std::vector<checkpoint::ShardedTensor> trainable_blocks(const model::MedfuseModel& model,
                                                        const parallel::WeightShards* shards) {
  std::vector<checkpoint::ShardedTensor> blocks;
  for (const NamedTensor& parameter : trainable_parts(model)) {
    const auto part = shards == nullptr ? std::nullopt : shards->part_of(parameter.tensor);
    if (!part) {
      blocks.push_back(block_of(parameter));
      continue;
    }
    for (auto& block : blocks_of(parameter, part->owned)) blocks.push_back(std::move(block));
  }
  return blocks;
}

void check_settings_of(const checkpoint::Reader& reader, const fs::path& run) {
  const fs::path config = run / "config.cfg";
  const std::string changed = changed_settings(reader, read_file(config));
  if (!changed.empty()) {
    data_error("{}: was changed since {} was saved with it: {}; restore it", config.string(), reader.path().filename().string(),
               changed);
  }
  const std::string others = changed_inputs(reader, inputs_of(run));
  if (!others.empty()) {
    data_error("{}: is of a run on {} than {}: take it away, or restore the run's files", reader.path().string(), others,
               run.string());
  }
}

Loaded standing_of(const checkpoint::Reader& reader) {
  Loaded loaded;
  loaded.step = reader.step();
  loaded.stages = reader.extra().value("stages_finished", std::vector<std::string>{});
  loaded.in_part = reader.extra().value("step", std::int64_t{0}) > 0;
  if (loaded.in_part) loaded.stages.push_back(reader.extra().value("stage", ""));
  return loaded;
}

std::string unfinished(const Loaded& loaded, const std::vector<std::string>& stages) {
  if (!loaded.in_part && loaded.stages.size() >= stages.size()) return {};
  return fmt::format("stage {}, step {} of all stages", loaded.stages.empty() ? stages.front() : loaded.stages.back(),
                     loaded.step);
}

Loaded load_trained(model::MedfuseModel& model, const fs::path& run, Ranks ranks, const std::string& which) {
  const fs::path checkpoints = run / "checkpoints";
  Loaded loaded;
  const torch::NoGradGuard no_grad;
  const auto load = [&](const checkpoint::Reader& reader) {
    check_settings_of(reader, run);
    for (const auto& block : trainable_blocks(model)) reader.read_into(block);
    loaded = standing_of(reader);
  };
  const auto warn = [&](const std::string& line) {
    if (ranks.world.rank() == 0) fmt::print(stderr, "medfuse: warning: {}\n", line);
  };
  if (!checkpoint::load_chosen(checkpoints, which, team_of(ranks.world), load, warn)) {
    data_error("{}: holds no checkpoint; run `medfuse train`", checkpoints.string());
  }
  return loaded;
}

}  // namespace medfuse::train
