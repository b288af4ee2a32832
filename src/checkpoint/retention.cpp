#include "src/checkpoint/retention.h"

#include "base/error.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/manifest.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

namespace {

struct Candidate {
  FolderEntry entry;
  bool opens = false;
  std::optional<double> score = {};
  std::int64_t stage_step = 0;
};

/// "step" in a manifest's extra: of the stage, while `step` of the manifest counts over all stages; 0 at a stage's end.
/// Checkpoints of what has no stages have that one alone.
std::int64_t step_in(const nlohmann::json& extra, std::int64_t step) {
  const auto own = extra.is_object() ? extra.find("step") : extra.end();
  return own != extra.end() && own->is_number_integer() ? own->get<std::int64_t>() : step;
}

Candidate open(const FolderEntry& entry) {
  try {
    const nlohmann::json extra = read_manifest(entry.path).extra;
    return {entry, true, score_in(extra), step_in(extra, entry.step)};
  } catch (const Error&) {
    return {entry};
  }
}

/// The highest score; of equals the newest. Null: none has one.
const Candidate* best_of(const std::vector<Candidate>& candidates) {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.score) continue;
    if (best == nullptr || *candidate.score >= *best->score) best = &candidate;
  }
  return best;
}

}  // namespace

std::optional<double> score_in(const nlohmann::json& extra) {
  const auto score = extra.is_object() ? extra.find("score") : extra.end();
  return score != extra.end() && score->is_number() ? std::optional(score->get<double>()) : std::nullopt;
}

std::optional<fs::path> best_checkpoint(const fs::path& folder) {
  std::vector<Candidate> candidates;
  for (const FolderEntry& entry : entries(folder)) candidates.push_back(open(entry));
  const Candidate* const best = best_of(candidates);
  return best == nullptr ? std::nullopt : std::optional(best->entry.path);
}

std::vector<fs::path> superseded(const fs::path& folder, std::int64_t step, const Retention& retention) {
  std::vector<fs::path> list;
  std::vector<Candidate> course;  // oldest first, the new one last
  for (const FolderEntry& entry : entries(folder)) {
    const bool replaced = entry.step == step && entry.path.filename() != step_name(step);
    if (entry.step > step || replaced) list.push_back(entry.path);
    else course.push_back(open(entry));
  }
  const Candidate* const best = retention.best ? best_of(course) : nullptr;
  std::int64_t newest = 0;
  for (auto candidate = course.rbegin(); candidate != course.rend(); ++candidate) {
    const bool fresh = retention.keep == 0 || newest < retention.keep;
    if (candidate->opens) ++newest;
    const bool marked = candidate->opens && retention.every > 0 && candidate->stage_step % retention.every == 0;
    if (!fresh && !marked && &*candidate != best) list.push_back(candidate->entry.path);
  }
  return list;
}

}  // namespace medfuse::checkpoint
