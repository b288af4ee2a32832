// The training loop: stages in order, checkpoints, resuming, stopping on request. It sees stages, never models or MPI.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/train/position.h"
#include "src/train/ranks.h"
#include "src/train/run_checkpoints.h"
#include "src/train/stage.h"
#include "src/train/stop_requests.h"

namespace medfuse::train {

struct TrainerOptions {
  CheckpointOptions checkpoints;
  std::int64_t checkpoint_every = 100;  ///< steps of a stage; 0: only at its end
  bool background = true;               ///< checkpoints are written while training goes on; else it waits for them
  std::int64_t validate_every = 0;      ///< steps of a stage between scores, which checkpoints get as well; 0: never
  std::int64_t bad_steps = 5;           ///< in a row, after which a run goes back to its last checkpoint
  StopRequests* stop = nullptr;         ///< this rank's; it outlives the trainer. On all ranks or on none: never asked
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
  bool good = true;              ///< loss and gradient are finite, on all ranks
  std::vector<std::pair<std::string, double>> others;
};

/// What a run consists of, for those who limit how long each may take. The first step of a stage is part of its start:
/// memory is taken and kernels are chosen then.
enum class Part { start, first_step, step, save };

/// What the loop tells of itself; called on every rank.
struct Observer {
  /// From now on it is about this: "step 12 of stage fusion".
  std::function<void(Part part, const std::string& what)> entered = [](Part, const std::string&) {};
  /// Called before a stage's first step here: training goes on behind `step` of its `steps`. Records of later steps are of
  /// a course that was left.
  std::function<void(const std::string& stage, std::int64_t step, std::int64_t steps)> begun =
      [](const std::string&, std::int64_t, std::int64_t) {};
  std::function<void(const StepRecord&)> stepped = [](const StepRecord&) {};
  std::function<void(const std::string&)> message = [](const std::string&) {};
};

/// not_begun: stopped before the first step, when there was nothing new to save.
enum class Outcome { finished, stopped, not_begun };

/// Scores the model as it is on the validation split. Collective; between its passes all ranks ask `stop`, which is collective
/// as well, and if it says so they leave off, without a score.
using Score = std::function<std::optional<double>(const std::function<bool()>& stop)>;

class Trainer {
 public:
  /// Makes a stage; made when it begins, so that its optimiser takes memory only then. The name is known before.
  struct StagePlan {
    std::string name;
    std::int64_t steps = 0;
    std::function<std::unique_ptr<Stage>()> make;
    Score score = {};  ///< null: none
  };

  /// `parameters`: this rank's blocks of everything trainable, live: they are saved and written into on resume.
  Trainer(TrainerOptions options, std::vector<StagePlan> stages, std::vector<checkpoint::ShardedTensor> parameters,
          Ranks ranks, Observer observer);

  /// Continues from the newest checkpoint, or begins. Collective. A step whose loss or gradient is not finite changes no
  /// parameter. After bad_steps of them in a row, or a stage without a good one, the run goes back to its last checkpoint,
  /// once a start: what was a fault of the machine is over then. The next time it throws Error(numeric), on all ranks alike.
  /// A stop counts neither as a good step nor as the end of a row of bad ones.
  Outcome run();

 private:
  /// Where to go on: behind the newest checkpoint, or at the beginning.
  Position resume();
  Position go_back(const StepRecord& record, std::int64_t bad);
  void begin_stage(const Position& position);
  /// One step, its score where one is due, and what is told of it.
  StepRecord step(const Position& position);
  StepRecord run_step(std::int64_t step);
  bool scores(const StagePlan& plan) const { return plan.score && options_.validate_every > 0; }
  /// Scores the run where it stands, unless a stop comes in between.
  void score(const StagePlan& plan);
  /// Scores what a stop had left without, and saves it anew; false if a stop comes in between again.
  bool make_up_score(Position& position);
  bool good_everywhere(const StepRecord& record) const;
  bool due(std::int64_t every, std::int64_t step) const { return every > 0 && step % every == 0; }
  /// Begins to save where the run stands.
  void save(const Position& position);
  /// Goes on with what is being saved, if all ranks are ready, and agrees on whether one of them wants to stop; once they do,
  /// nobody is asked any more. Collective.
  bool agree();
  void tell(const std::optional<SavedCheckpoint>& saved);
  Outcome stopped(Outcome outcome);

  TrainerOptions options_;
  std::vector<StagePlan> plans_;
  Ranks ranks_;
  Observer observer_;
  RunCheckpoints saves_;
  std::unique_ptr<Stage> stage_;  // the one under way
  std::size_t stage_index_ = 0;
  Part part_ = Part::first_step;  // what the next step is
  std::optional<double> score_;   // of where the run stands
  bool score_left_off_ = false;   // for a stop, though it was due there
  bool went_back_ = false;
  bool stop_agreed_ = false;
  std::string stop_reason_;       // on rank 0
};

}  // namespace medfuse::train
