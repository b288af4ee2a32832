// The checkpoints of a run: what the training loop puts into them, writing them while it goes on, and finding its way back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/checkpoint/background_writer.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/tensors.h"
#include "src/train/position.h"
#include "src/train/ranks.h"
#include "src/train/run_folder.h"

namespace medfuse::train {

struct CheckpointOptions {
  std::filesystem::path folder;
  checkpoint::Retention retention;
  std::string config = {};  ///< everything resolved, kept in each checkpoint; empty: nothing is kept, nor compared
  Inputs inputs = {};       ///< what is trained on, kept and compared as well
};

/// A checkpoint that is complete.
struct SavedCheckpoint {
  std::filesystem::path path;
  std::int64_t bytes = 0;   ///< of tensors, over all ranks
  double blocked = 0;       ///< seconds that training stood still for it
  double seconds = 0;       ///< of the snapshot and of writing; without what the writer waited for the next step's end
  std::string warning;      ///< why an old one could not be deleted; usually empty
};

/// How the settings kept in a checkpoint differ from `config` where that changes the result (differences() of run_folder.h);
/// empty: not at all, or none are kept.
std::string changed_settings(const checkpoint::Reader& reader, const std::string& config);

/// "other packed data" or "other weights", if that is what the checkpoint was trained on; empty: no, or it does not say.
std::string changed_inputs(const checkpoint::Reader& reader, const Inputs& inputs);

class RunCheckpoints {
 public:
  using Tensors = std::vector<checkpoint::ShardedTensor>;

  /// `parameters`: this rank's blocks of everything trainable, live. `stages`: their names and steps.
  RunCheckpoints(CheckpointOptions options, Tensors parameters, std::vector<std::pair<std::string, std::int64_t>> stages,
                 Ranks ranks);

  /// Reads the newest sound one, if there is any, into the parameters and into what `state_of` gives for its position: the
  /// live tensors of a stage that has begun. `warn` gets a line for each that is passed over. Collective. Throws
  /// Error(usage) if the stages do not go on behind what was done, or settings differ that change the result.
  std::optional<Position> load(const std::function<Tensors(const Position&)>& state_of,
                               const std::function<void(const std::string&)>& warn);

  /// Begins to save: copies, and writes while training goes on (checkpoint::BackgroundWriter). `state` of a stage that has
  /// begun; `score` on the validation split, if there is one of this position. Collective. Throws the error of the one before.
  void begin(const Position& position, const Tensors& state, std::optional<double> score);
  /// As those of the writer: see there.
  bool active() const { return writer_.active(); }
  bool ready() const { return writer_.ready(); }
  std::optional<SavedCheckpoint> advance();
  std::optional<SavedCheckpoint> finish();

  /// There is a checkpoint that load() can go back to.
  bool any() const { return any_; }

  /// Of the tensors of a checkpoint with this state, over all ranks. Collective.
  std::int64_t bytes_with(const Tensors& state) const;

  /// Steps over all stages.
  std::int64_t global_step(const Position& position) const;

 private:
  Position position_of(const checkpoint::Reader& reader) const;
  void check_origin(const checkpoint::Reader& reader) const;
  std::optional<SavedCheckpoint> told(std::optional<checkpoint::SaveReport> report);

  CheckpointOptions options_;
  Tensors parameters_;
  std::vector<std::pair<std::string, std::int64_t>> stages_;
  Ranks ranks_;
  checkpoint::BackgroundWriter writer_;
  double snapshot_ = 0, blocked_ = 0;  // seconds, of the one under way
  bool any_ = false;
};

}  // namespace medfuse::train
