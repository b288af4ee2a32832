// Which checkpoints stay once a newer one is complete, and which is the best.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

namespace medfuse::checkpoint {

/// A checkpoint stays if one of these says so.
struct Retention {
  std::int64_t keep = 2;    ///< the newest, the one just written included; 0: all
  std::int64_t every = 0;   ///< those whose step of their stage is a multiple of it, and the ends of stages; 0: none
  bool best = true;         ///< the one with the highest score, if any has one
};

/// "score" in a manifest's extra: on the validation split. Nothing if it was not taken.
std::optional<double> score_in(const nlohmann::json& extra);

/// What is to be deleted now that `step` is complete. Checkpoints that cannot be opened do not count among the newest, and
/// go when they are older than those. Those of later steps go in any case: they belong to a course that was left.
std::vector<std::filesystem::path> superseded(const std::filesystem::path& folder, std::int64_t step,
                                              const Retention& retention);

/// The sound one with the highest score, the newest of equals; nothing if none has a score.
std::optional<std::filesystem::path> best_checkpoint(const std::filesystem::path& folder);

}  // namespace medfuse::checkpoint
