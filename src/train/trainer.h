// The training loop: stages in order, checkpoints, resuming, stopping on request. It sees stages, never models or MPI.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/checkpoint/reader.h"
#include "src/train/ranks.h"
#include "src/train/stage.h"

namespace medfuse::train {

struct TrainerOptions {
  std::filesystem::path checkpoints;
  std::int64_t checkpoint_every = 100;  ///< steps of a stage; 0: only at its end
  std::int64_t checkpoint_keep = 2;
  double stop_after = 0;                ///< seconds; 0: never
};

/// One line of metrics.jsonl, over all ranks.
struct StepRecord {
  std::string stage;
  std::int64_t step = 0;         ///< of the stage, from 1: steps done
  std::int64_t steps = 0;        ///< of the stage in all
  std::int64_t global_step = 0;  ///< over all stages
  double epoch = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  double samples = 0;            ///< of this step
  double tokens = 0;
  double seconds = 0;            ///< this step took, on this rank
  std::vector<std::pair<std::string, double>> others;
};

/// What the loop tells of itself; called on every rank.
struct Observer {
  /// Called before a stage's first step here: training goes on behind `step` of its `steps`. At the first call of a run
  /// records of later steps are of a course that was left.
  std::function<void(const std::string& stage, std::int64_t step, std::int64_t steps)> begun =
      [](const std::string&, std::int64_t, std::int64_t) {};
  std::function<void(const StepRecord&)> stepped = [](const StepRecord&) {};
  std::function<void(const std::string&)> message = [](const std::string&) {};
};

enum class Outcome { finished, stopped };

class Trainer {
 public:
  /// Makes a stage; made when it begins, so that its optimiser takes memory only then. The name is known before.
  struct StagePlan {
    std::string name;
    std::int64_t steps = 0;
    std::function<std::unique_ptr<Stage>()> make;
  };

  /// `parameters`: this rank's blocks of everything trainable, live: they are saved and written into on resume.
  Trainer(TrainerOptions options, std::vector<StagePlan> stages, std::vector<checkpoint::ShardedTensor> parameters,
          Ranks ranks, Observer observer);

  /// Continues from the newest checkpoint, or begins. Collective. Throws Error(numeric) on all ranks alike when a loss or
  /// gradient is not finite.
  Outcome run();

 private:
  struct Position {
    std::size_t stage = 0;
    std::int64_t step = 0;
  };

  Position position_of(const checkpoint::Reader& reader) const;
  Position resume();
  void save(const Position& position);
  StepRecord run_step(std::int64_t step);
  bool stop_asked(bool vote);
  std::int64_t global_step(const Position& position) const;

  TrainerOptions options_;
  std::vector<StagePlan> plans_;
  std::vector<checkpoint::ShardedTensor> parameters_;
  Ranks ranks_;
  Observer observer_;
  std::unique_ptr<Stage> stage_;  // the one under way
  std::size_t stage_index_ = 0;
};

}  // namespace medfuse::train
