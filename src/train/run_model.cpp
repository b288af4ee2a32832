#include "src/train/run_model.h"

#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "src/checkpoint/reader.h"

namespace medfuse::train {
namespace fs = std::filesystem;

model::ModelOptions model_options(const TrainOptions& options, const data::PackedInfo& info) {
  model::ModelOptions model;
  model.text = options.text;
  model.labs = options.labs;
  model.fusion = options.fusion;
  model.precision = options.precision;
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
  const std::string fingerprint = fmt::format("{:016x}", file_checksum(tokenizer));
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
  const std::string remedy = "; pack it with `medfuse pack --like RUN`";
  if (info.tokenizer_fingerprint != trained.tokenizer_fingerprint) {
    data_error("{}: was packed with another tokenizer than the run was trained with{}", data, remedy);
  }
  if (info.labs.size() != trained.labs.size()) {
    data_error("{}: has {} lab columns, the run was trained with {}{}", data, info.labs.size(), trained.labs.size(), remedy);
  }
  for (std::size_t i = 0; i < info.labs.size(); ++i) {
    const auto& mine = info.labs[i];
    const auto& theirs = trained.labs[i];
    if (mine.item != theirs.item || mine.low != theirs.low || mine.high != theirs.high) {
      data_error("{}: lab column {} ({}) is another item or scaled otherwise than in the run{}", data, i, mine.name, remedy);
    }
  }
  if (info.has_labels && info.diseases != trained.diseases) {
    data_error("{}: names other diseases than the run was trained on{}", data, remedy);
  }
}

std::string weights_identity(const fs::path& model_folder) {
  nlohmann::json files = nlohmann::json::object();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(model_folder, error)) {
    if (entry.path().extension() != ".safetensors") continue;
    // A safetensors file begins with the length of its header and the header: names, types, shapes, offsets.
    std::ifstream in(entry.path(), std::ios::binary);
    std::string head(1 << 20, '\0');
    in.read(head.data(), static_cast<std::streamsize>(head.size()));
    head.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
    files[entry.path().filename().string()] = {{"bytes", fs::file_size(entry.path())},
                                               {"first_mib_xxh64", fmt::format("{:016x}", XXH64(head.data(), head.size(), 0))}};
  }
  if (error) data_error("text.model {}: {}", model_folder.string(), error.message());
  const nlohmann::json identity = {
      {"config_xxh64", fmt::format("{:016x}", file_checksum(model_folder / "config.json"))}, {"files", files}};
  return identity.dump(1) + "\n";
}

Loaded load_trained(model::MedfuseModel& model, const fs::path& checkpoints, Ranks ranks) {
  Loaded loaded;
  const torch::NoGradGuard no_grad;
  const auto load = [&](const checkpoint::Reader& reader) {
    for (const auto& [name, tensor] : model.trainable()) reader.read_into(name, tensor);
    loaded.stage = reader.extra().value("stage", "");
    loaded.step = reader.step();
    for (const auto& name : reader.extra().value("stages_begun", std::vector<std::string>{})) {
      loaded.fused = loaded.fused || name == "fusion";
    }
  };
  const auto warn = [&](const std::string& line) {
    if (ranks.rank() == 0) fmt::print(stderr, "medfuse: warning: {}\n", line);
  };
  if (!checkpoint::load_newest(checkpoints, team_of(ranks.host), load, warn)) {
    data_error("{}: holds no checkpoint; run `medfuse train`", checkpoints.string());
  }
  return loaded;
}

}  // namespace medfuse::train
