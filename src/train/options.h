// Everything that a training run can be told: the fields behind the options of `medfuse train`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/model/options.h"
#include "src/train/adamw_factors.h"

namespace medfuse::train {

/// Length of a stage: `steps` when positive, else `epochs` of the training split.
struct LengthOptions {
  std::int64_t steps = 0;
  double epochs = 0;
};

struct EncodersOptions {
  LengthOptions length{0, 3};      ///< of the text encoder's fine-tuning
  double lab_learning_rate = 1e-3;
  std::int64_t lab_batch = 0;      ///< samples per step of the lab transformer; 0: as the text encoder's
  std::int64_t lab_steps = 0;      ///< of the lab transformer; 0: as many as the text encoder's
};

struct FusionStageOptions {
  LengthOptions length{0, 3};
  double learning_rate = 1e-3;     ///< of the fusion transformer; the encoders keep their own, times encoder_factor
  double encoder_factor = 0.5;     ///< scales the encoders' learning rates in this stage
  double estimator_learning_rate = 1e-3;
  std::int64_t estimator_steps = 5;  ///< updates of the estimator in each step: one that lags behind bounds nothing
};

struct ParallelOptions {
  std::int64_t tensor = 1;         ///< ranks that hold one text encoder together
  bool sequence = false;           ///< whether those also share the tokens between its projections
  bool across_nodes = false;       ///< whether those may be on several nodes
  std::string layout = "interleaved";  ///< of the encoder stage: each rank trains both encoders, or split: one of them
  std::int64_t lab_ranks = 0;      ///< that train the lab transformer in the split layout; 0: about one in eight
  std::int64_t zero = 0;           ///< each rank keeps its share of 1: optimiser states; 2: gradients too; 3: the text encoder's weights too
  double bucket_mib = 32;             ///< gradients travel in buckets of at most about this size
  std::string reduce_dtype = "auto";  ///< of gradients on the wire: f32, f64, bf16, f16; auto: their own
};

/// What makes a run stop with a checkpoint and exit code 85: docs/stopping.md.
struct StopOptions {
  std::vector<std::string> signals = {"TERM", "USR1", "USR2"};  ///< or "none" alone
  std::string file;                ///< stops the run where it appears; empty: RUN/stop
  double after = 0;                ///< seconds from the start, after which the run stops; 0: never
  double limit = 0;                ///< seconds from the start, before which the checkpoint must be complete; 0: none
  double margin = 30;              ///< seconds to keep free before a time limit
  double slurm_every = 300;        ///< seconds between questions to Slurm about the job's time limit; 0: not asked
};

/// Seconds that parts of a job may take before it ends with exit code 4: docs/timeouts.md.
struct TimeoutOptions {
  double start = 1800;             ///< each part of what comes before the first step: opening, loading, the step itself
  double step = 600;               ///< a step, or three times the longest one so far if that is more
  double save = 1800;              ///< a checkpoint
  double lock = 100;               ///< not of work: to wait for the end of another job in the run folder
};

struct TrainOptions {
  std::string data;                ///< packed data set
  std::vector<std::string> stages = {"encoders", "fusion"};
  std::int64_t batch = 32;         ///< samples per global step, over all ranks
  std::int64_t micro_batch = 8;    ///< samples per forward pass on one rank; changes memory and speed, not the result
  std::uint64_t seed = 1;
  std::string precision = "f32";   ///< compute type of the text encoder: f32, bf16 or f64 (then everything is f64)
  std::string recompute = "none";  ///< of the encoders' blocks in backward passes: none, attention or full
  double learning_rate = 2e-4;     ///< of the text encoder's LoRA and head
  double weight_decay = 0.01;
  AdamWOptions adam;               ///< beta1, beta2, epsilon
  double warmup = 0.1;             ///< share of a stage's steps
  double final_rate = 0.05;        ///< learning rate at the end of the cosine, as a share of the peak
  double clip = 1.0;               ///< largest global gradient norm; 0: no clipping
  model::TextOptions text;
  std::int64_t text_cache_mib = 0; ///< memory of a rank for the states below the lowest adapter; 0: they are not kept
  model::LabOptions labs;
  model::FusionOptions fusion;
  EncodersOptions encoders;
  FusionStageOptions fusion_stage;
  ParallelOptions parallel;
  std::int64_t checkpoint_every = 100;  ///< steps; 0: only at the end of a stage
  bool checkpoint_background = true;      ///< they are written while training goes on
  std::int64_t checkpoint_keep = 2;       ///< newest ones that stay
  std::int64_t checkpoint_keep_every = 0; ///< and those of every so many steps of a stage, and its end; 0: none
  bool checkpoint_best = true;            ///< and the one of the highest score
  std::int64_t validate_every = 0;        ///< steps of the fusion stage between scores on the validation split; 0: never
  std::int64_t bad_steps = 5;             ///< steps in a row without a finite loss and gradient; then a run goes back
  StopOptions stop;
  std::string device = "auto";     ///< auto, cpu or cuda
  TimeoutOptions timeout;
};

}  // namespace medfuse::train
