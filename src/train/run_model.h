// The model of a run: built for its data, and filled with what was learned.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/packed/packed.h"
#include "src/checkpoint/reader.h"
#include "src/model/medfuse_model.h"
#include "src/train/named_tensor.h"
#include "src/train/options.h"
#include "src/train/ranks.h"

namespace medfuse::train {

model::ModelOptions model_options(const TrainOptions& options, const data::PackedInfo& info);

/// Throws Error(data) unless the data was packed with the tokenizer in `model_folder` and its ids fit `vocabulary`.
void check_tokenizer(const data::PackedInfo& info, const std::string& data, const std::string& model_folder,
                     std::int64_t vocabulary);

/// Throws Error(data) unless data of `info` has the labs and scaling that a model trained on `trained` needs.
void check_same_inputs(const data::PackedInfo& info, const data::PackedInfo& trained, const std::string& data);

struct Loaded {
  std::vector<std::string> stages;  ///< those that have trained, the last perhaps in part
  std::int64_t step = 0;            ///< over all stages
  bool in_part = false;             ///< the last of them has steps to go
  /// The fusion transformer has learned something.
  bool fused() const { return !stages.empty() && stages.back() == "fusion"; }
};

/// What the checkpoint says of itself.
Loaded standing_of(const checkpoint::Reader& reader);

/// "stage encoders, step 3 of all stages" where it has come no farther of the `stages` of its run; empty at their end.
std::string unfinished(const Loaded& loaded, const std::vector<std::string>& stages);

/// The trainable parameters of MedfuseModel::trainable(prefixes), as they lie on this rank.
std::vector<NamedTensor> trainable_parts(const model::MedfuseModel& model, const std::vector<std::string>& prefixes = {});

/// All of them as checkpoints see them: this rank's blocks, live. `shards`: where some lie between their uses, or null.
std::vector<checkpoint::ShardedTensor> trainable_blocks(const model::MedfuseModel& model,
                                                        const parallel::WeightShards* shards = nullptr);

/// Throws Error(data) if config.cfg of the folder `run` has other settings than the checkpoint was saved with, which would
/// make another model of its tensors, or the run is trained on other data or weights.
void check_settings_of(const checkpoint::Reader& reader, const std::filesystem::path& run);

/// Fills `model`, made as config.cfg of the folder `run` says, from the run's checkpoint that `which` says
/// (checkpoint::load_chosen): newest sound, best or a step. Collective. Throws Error(data) where there is none.
Loaded load_trained(model::MedfuseModel& model, const std::filesystem::path& run, Ranks ranks,
                    const std::string& which = "newest");

}  // namespace medfuse::train
