#include "src/plan/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"

namespace medfuse::plan {

namespace {

const char* const kModes[] = {"none", "attention", "full"};

Candidate rehearsed(const Job& job, const Choice& choice) {
  const Job changed = with(job, choice);
  Candidate candidate{choice, 0, 0, plan(changed)};
  for (const StagePlan& stage : candidate.plan.stages) candidate.seconds += stage.step.seconds;
  candidate.bytes = candidate.plan.needed_bytes(job.machine);
  return candidate;
}

/// In rising order, so that a search may stop at the first that does not fit.
std::set<std::int64_t> micro_batches(const Job& job) {
  std::set<std::int64_t> sizes = {std::min(job.options.micro_batch, job.samples()), job.samples()};
  for (std::int64_t size = 1; size < job.samples(); size *= 2) sizes.insert(size);
  return sizes;
}

/// Those that fit, and the one that was asked for.
std::set<std::int64_t> tensor_degrees(const Job& job) {
  const std::vector<std::int64_t> fitting = fitting_degrees(job);
  std::set<std::int64_t> degrees(fitting.begin(), fitting.end());
  degrees.insert(job.options.parallel.tensor);
  return degrees;
}

std::int64_t highest_level(const Job& job, std::int64_t tensor) {
  if (job.ranks() == tensor) return 0;                // nothing to share
  return job.options.text_cache_mib > 0 ? 2 : 3;      // ZeRO-3 excludes kept states
}

bool fits(const Candidate& candidate, const Job& job) { return candidate.plan.fits(job.machine); }

/// Candidates of one degree and level; remembers the least memory.
void try_all(const Job& job, Choice choice, Search& found, std::optional<Candidate>& least) {
  for (const bool sequence : {false, true}) {
    if (sequence && choice.tensor == 1) continue;
    for (const char* mode : kModes) {
      choice.sequence = sequence;
      choice.recompute = mode;
      std::optional<Candidate> best;
      for (const std::int64_t size : micro_batches(with(job, choice))) {
        choice.micro_batch = size;
        Candidate candidate = rehearsed(job, choice);
        if (!least || candidate.bytes < least->bytes) least = candidate;
        if (!fits(candidate, job)) break;  // larger ones need more
        if (!best || candidate.seconds < best->seconds) best = std::move(candidate);
      }
      if (best) found.best.push_back(std::move(*best));
    }
  }
}

}  // namespace

Choice choice_of(const train::TrainOptions& o) {
  return {o.parallel.tensor, o.parallel.sequence, o.parallel.zero, o.recompute, o.micro_batch};
}

Job with(const Job& job, const Choice& choice) {
  Job changed = job;
  changed.options.parallel.tensor = choice.tensor;
  changed.options.parallel.sequence = choice.sequence;
  changed.options.parallel.zero = choice.zero;
  changed.options.recompute = choice.recompute;
  changed.options.micro_batch = choice.micro_batch;
  return changed;
}

std::string difference(const Choice& from, const Choice& to) {
  std::vector<std::string> parts;
  if (from.tensor != to.tensor) parts.push_back(fmt::format("parallel.tensor = {}", to.tensor));
  if (from.sequence != to.sequence) parts.push_back(fmt::format("parallel.sequence = {}", to.sequence));
  if (from.zero != to.zero) parts.push_back(fmt::format("parallel.zero = {}", to.zero));
  if (from.recompute != to.recompute) parts.push_back("recompute = " + to.recompute);
  if (from.micro_batch != to.micro_batch) parts.push_back(fmt::format("micro_batch = {}", to.micro_batch));
  return fmt::format("{}", fmt::join(parts, ", "));
}

Search search(const Job& job) {
  Search found;
  for (const std::int64_t tensor : tensor_degrees(job)) {
    Choice choice = choice_of(job.options);
    choice.tensor = tensor;
    choice.sequence = false;
    try {
      check(with(job, choice));
    } catch (const Error& error) {
      found.refusals.push_back({tensor, 0, error.what()});
      continue;
    }
    for (choice.zero = 0; choice.zero <= highest_level(job, tensor); ++choice.zero) {
      const std::size_t before = found.best.size();
      std::optional<Candidate> least;
      try_all(job, choice, found, least);
      if (found.best.size() == before) {
        found.refusals.push_back({tensor, choice.zero,
                                  fmt::format("needs at least {:.1f} GiB of a rank's {:.1f} ({})",
                                              least->bytes / 0x1p30, job.machine.memory_gib,
                                              difference({tensor, false, choice.zero, "", 0}, least->choice))});
      }
      if (!found.least || least->bytes < found.least->bytes) found.least = std::move(least);
    }
  }
  std::stable_sort(found.best.begin(), found.best.end(),
                   [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
  return found;
}

std::optional<Candidate> smallest_change(const Job& job) {
  const Choice given = choice_of(job.options);
  std::vector<Choice> changes;
  const auto change = [&](auto Choice::*what, auto value) {
    Choice changed = given;
    changed.*what = value;
    changes.push_back(changed);
  };
  for (const char* mode : kModes) change(&Choice::recompute, std::string(mode));
  for (const std::int64_t size : micro_batches(job)) {
    if (size < given.micro_batch) change(&Choice::micro_batch, size);
  }
  for (std::int64_t zero = given.zero + 1; zero <= highest_level(job, given.tensor); ++zero) change(&Choice::zero, zero);
  if (given.tensor > 1) change(&Choice::sequence, true);
  for (const std::int64_t tensor : tensor_degrees(job)) {
    if (tensor > given.tensor) change(&Choice::tensor, tensor);
  }
  std::optional<Candidate> best;
  for (const Choice& choice : changes) {
    try {
      check(with(job, choice));
    } catch (const Error&) {
      continue;
    }
    Candidate candidate = rehearsed(job, choice);
    if (fits(candidate, job) && (!best || candidate.seconds < best->seconds)) best = std::move(candidate);
  }
  if (best) return best;
  auto all = search(job).best;
  return all.empty() ? std::nullopt : std::optional(std::move(all.front()));
}

}  // namespace medfuse::plan
