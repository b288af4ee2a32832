// Saves while training goes on: it stops for a copy of what this rank writes, and the writing goes on behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/checkpoint/writer.h"

namespace medfuse::checkpoint {

/// One checkpoint is written at a time. The thread behind writes files and never talks to other ranks: they agree in
/// advance(), which the training loop calls between steps. So an error, on whatever rank, is thrown by all ranks at the
/// same place, and no second channel is needed.
class BackgroundWriter {
 public:
  BackgroundWriter(std::filesystem::path folder, Team team, Retention retention = {});
  /// Waits for this rank's thread; a checkpoint that is not complete leaves a hidden folder, as after a kill.
  ~BackgroundWriter() = default;

  /// Collective. Finishes the one before (throwing its error), copies, and begins to write. What write() guarantees holds.
  void begin(std::int64_t step, const std::vector<ShardedTensor>& tensors, const nlohmann::json& extra) {
    begin([&](Snapshot used) { return take_snapshot(step, tensors, extra, team_, std::move(used)); });
  }
  /// The same with a snapshot taken otherwise; `take` gets the one before, whose memory may serve again.
  void begin(const std::function<Snapshot(Snapshot used)>& take);

  /// A checkpoint is on its way. The same on all ranks.
  bool active() const { return phase_ != Phase::idle; }
  /// This rank has nothing to do until the next advance().
  bool ready() const;
  /// Collective, while active. Waits until all ranks are ready, which the caller may have asked before, and goes on to what
  /// comes next. Returns the report once the checkpoint is complete. On an error all ranks throw it, no trace is left of
  /// the checkpoint, and nothing is active.
  std::optional<SaveReport> advance();
  /// Collective. Waits until the one on its way, if any, is complete.
  std::optional<SaveReport> finish();

 private:
  /// All ranks write their files; then rank 0 writes the manifest and gives the folder its name.
  enum class Phase { idle, parts, completion };

  std::filesystem::path folder_;
  Team team_;
  Retention retention_;
  Phase phase_ = Phase::idle;
  Snapshot snapshot_;  // the last one's memory serves for the next
  std::future<std::string> work_;  // invalid: this rank has nothing to do in this phase; reads the snapshot
};

}  // namespace medfuse::checkpoint
