#include "src/checkpoint/retention.h"

#include <limits>

#include "base/error.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/manifest.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// Its score, kNone without one; nothing if it cannot be opened.
std::optional<double> open_score(const fs::path& path) {
  try {
    return score_in(read_manifest(path).extra).value_or(kNone);
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct Candidate {
  FolderEntry entry;
  std::optional<double> score;
};

/// The highest; of equals the newest. Null: none has one.
const Candidate* best_of(const std::vector<Candidate>& candidates) {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (candidate.score.value_or(kNone) == kNone) continue;
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
  for (const FolderEntry& entry : entries(folder)) candidates.push_back({entry, open_score(entry.path)});
  const Candidate* const best = best_of(candidates);
  return best == nullptr ? std::nullopt : std::optional(best->entry.path);
}

std::vector<fs::path> superseded(const fs::path& folder, std::int64_t step, const Retention& retention) {
  std::vector<fs::path> list;
  std::vector<Candidate> course;  // oldest first, the new one last
  for (const FolderEntry& entry : entries(folder)) {
    const bool replaced = entry.step == step && entry.path.filename() != step_name(step);
    if (entry.step > step || replaced) list.push_back(entry.path);
    else course.push_back({entry, open_score(entry.path)});
  }
  const Candidate* const best = retention.best ? best_of(course) : nullptr;
  std::int64_t newest = 0;
  for (auto candidate = course.rbegin(); candidate != course.rend(); ++candidate) {
    const bool fresh = retention.keep == 0 || newest < retention.keep;
    if (candidate->score) ++newest;
    const bool marked = candidate->score && retention.every > 0 && candidate->entry.step % retention.every == 0;
    if (!fresh && !marked && &*candidate != best) list.push_back(candidate->entry.path);
  }
  return list;
}

}  // namespace medfuse::checkpoint
