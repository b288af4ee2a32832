#include "cluster/pending.h"

#include <algorithm>
#include <mutex>

namespace medfuse::cluster {

namespace {

struct Sources {
  std::mutex mutex;
  std::vector<PendingSource*> all;
};

Sources& sources() {
  static auto* const sources = new Sources;  // outlives every static object that may register
  return *sources;
}

}  // namespace

PendingSource::Registration::Registration(PendingSource& source) : source_(source) {
  const std::lock_guard lock(sources().mutex);
  sources().all.push_back(&source_);
}

PendingSource::Registration::~Registration() {
  const std::lock_guard lock(sources().mutex);
  std::erase(sources().all, &source_);
}

std::optional<Pending> longest_pending() {
  const std::lock_guard lock(sources().mutex);
  std::optional<Pending> longest;
  for (PendingSource* const source : sources().all) {
    auto pending = source->pending();
    if (pending && (!longest || pending->waited > longest->waited)) longest = std::move(pending);
  }
  return longest;
}

std::string name_ranks(const std::vector<int>& ranks) {
  if (ranks.empty()) return "";
  constexpr std::size_t shown = 8;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < std::min(ranks.size(), shown); ++i) text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  if (ranks.size() > shown) text += " and " + std::to_string(ranks.size() - shown) + " more";
  return text;
}

}  // namespace medfuse::cluster
