// What the commands that work on a run share: device, communicators, the run's options, data and trained model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cluster/communicator.h"
#include "cluster/mesh.h"
#include "cluster/process.h"
#include "data/packed/reader.h"
#include "launch/option_table.h"
#include "launch/patience.h"
#include "src/model/medfuse_model.h"
#include "src/train/options.h"
#include "src/train/ranks.h"
#include "src/train/run_model.h"

namespace medfuse::launch {

/// The communicators of a job: host tensors over MPI, and those of the device, on a mesh.
class JobRanks {
 public:
  /// Collective. Throws Error(usage) when `device` or the mesh cannot be had. The collectives have no limit: see Patience.
  JobRanks(cluster::Process& process, const std::string& device, const cluster::MeshOptions& mesh = {});
  train::Ranks ranks();
  /// Those that hold one model together with this rank.
  model::TensorParallelPtr tensor_parallel(bool sequence = false);
  at::Device device() { return ranks().device.device(); }
  /// The ranks on the mesh, for people.
  const std::string& rank_map() const { return rank_map_; }

 private:
  std::unique_ptr<cluster::Communicator> host_;
  std::unique_ptr<cluster::Communicator> device_;  // null: the host's serves
  std::optional<cluster::MeshGroups> host_groups_;
  std::optional<cluster::MeshGroups> device_groups_;
  std::optional<int> first_lab_;  // split layout
  std::string rank_map_;
};

/// Which run a command works on and how, for commands on a finished (or running) run.
struct RunSelection {
  /// Binds --run and --data.
  void describe_inputs(OptionTable& options, const std::string& run_help, const std::string& data_help);
  /// Binds --checkpoint, --text.model, --device, --timeout.start, --timeout.step and --micro_batch.
  void describe_rest(OptionTable& options);
  /// Throws Error(usage) naming the option that cannot be.
  void check() const;

  std::string run;              ///< --run
  std::string data;             ///< --data; empty: the run's own
  std::string model;            ///< --text.model, when it has moved since
  std::string checkpoint = "newest";  ///< --checkpoint: newest, best or a step
  std::string device = "auto";
  train::TimeoutOptions timeout;  ///< a step: a forward pass of micro_batch samples
  std::int64_t micro_batch = 16;  ///< samples per forward pass on a rank
  bool needs_data = true;       ///< false: no packed data is opened
};

/// A run opened for evaluation: its options, the data to work on and the trained model.
struct OpenRun {
  train::TrainOptions options;
  data::PackedInfo trained;  ///< what the run was trained on
  std::string data;
  std::unique_ptr<data::PackedReader> reader;  ///< null where none is needed
  std::unique_ptr<Patience> patience;
  std::unique_ptr<JobRanks> job;
  std::unique_ptr<model::MedfuseModel> model;
  train::Loaded loaded;
};

/// Collective. Errors are agreed on: one rank throws its own, the others leave silently.
OpenRun open_run(cluster::Process& process, const RunSelection& selection);

}  // namespace medfuse::launch
