#include "src/plan/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "cluster/mesh.h"
#include "src/plan/crew.h"

namespace medfuse::plan {

namespace {

const char* const kModes[] = {"none", "attention", "full"};

Candidate rehearsed(const Job& job, const Choice& choice) {
  const Job changed = with(job, choice);
  Plan planned = plan(changed);
  const double bytes = planned.needed_bytes(job.machine);
  return {choice, bytes, std::move(planned)};
}

/// In rising order, so that a search may stop at the first that does not fit.
std::set<std::int64_t> micro_batches(const Job& job) {
  const std::int64_t most = portion(job, text_groups(job)).samples;
  std::set<std::int64_t> sizes = {std::min(job.options.micro_batch, most), most};
  for (std::int64_t size = 1; size < most; size *= 2) sizes.insert(size);
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

bool faster(const Candidate& a, const Candidate& b) { return a.plan.seconds() < b.plan.seconds(); }

/// The fastest of these micro-batches (rising) that fits; remembers the least memory.
std::optional<Candidate> fastest(const Job& job, Choice choice, const std::set<std::int64_t>& micro_batches,
                                 std::optional<Candidate>& least) {
  std::optional<Candidate> best;
  for (const std::int64_t size : micro_batches) {
    choice.micro_batch = size;
    Candidate candidate = rehearsed(job, choice);
    if (!least || candidate.bytes < least->bytes) least = candidate;
    if (!fits(candidate, job)) break;  // larger ones need more
    if (!best || faster(candidate, *best)) best = std::move(candidate);
  }
  return best;
}

/// Tensor groups of the `groups` for the labs, so that a step of either encoder takes as long, given one where `one` is the
/// only one for the labs.
std::int64_t balanced(const Candidate& one, std::int64_t groups) {
  double text = 0, labs = 0;  // of the encoder stage
  for (const StagePlan& stage : one.plan.stages) {
    if (stage.name != "encoders") continue;
    if (stage.crew == "text") text = stage.step.seconds * static_cast<double>(groups - 1);
    if (stage.crew == "labs") labs = stage.step.seconds;
  }
  const auto best = std::llround(static_cast<double>(groups) * labs / (text + labs));
  return std::clamp<std::int64_t>(best, 1, groups - 1);
}

/// The layouts of a mesh: interleaved, and split with the numbers of lab ranks that are worth a try.
void try_layouts(const Job& job, Choice choice, Search& found, std::optional<Candidate>& least) {
  const auto attempt = [&](std::optional<std::int64_t> lab_ranks, const std::set<std::int64_t>& micro_batches) {
    choice.lab_ranks = lab_ranks;
    const auto best = fastest(job, choice, micro_batches, least);
    if (best) found.best.push_back(*best);
    return best;
  };
  choice.lab_ranks = {};
  const auto interleaved = attempt({}, micro_batches(with(job, choice)));
  const std::int64_t groups = job.ranks() / choice.tensor;
  if (groups < 2 || !job.has_encoders()) return;
  // The text encoder is the same in either layout, and so is what suits it.
  const auto sizes = [&](std::int64_t lab_ranks) {
    if (interleaved) return std::set{interleaved->choice.micro_batch, job.options.micro_batch};
    choice.lab_ranks = lab_ranks;
    return micro_batches(with(job, choice));
  };
  std::set<std::int64_t> more;
  if (const auto one = attempt(choice.tensor, sizes(choice.tensor))) more.insert(choice.tensor * balanced(*one, groups));
  const auto given = choice_of(job).lab_ranks;
  if (given && *given % choice.tensor == 0 && *given < job.ranks()) more.insert(*given);
  more.erase(choice.tensor);
  for (const std::int64_t lab_ranks : more) attempt(lab_ranks, sizes(lab_ranks));
}

/// Candidates of one degree and level; remembers the least memory.
void try_all(const Job& job, Choice choice, Search& found, std::optional<Candidate>& least) {
  for (const bool sequence : {false, true}) {
    if (sequence && choice.tensor == 1) continue;
    for (const char* mode : kModes) {
      choice.sequence = sequence;
      choice.recompute = mode;
      try_layouts(job, choice, found, least);
    }
  }
}

}  // namespace

Choice choice_of(const Job& job) {
  const train::TrainOptions& o = job.options;
  Choice choice{o.parallel.tensor, o.parallel.sequence, {}, o.parallel.zero, o.recompute, o.micro_batch};
  if (job.split()) choice.lab_ranks = (job.data() - text_groups(job)) * o.parallel.tensor;
  return choice;
}

Job with(const Job& job, const Choice& choice) {
  Job changed = job;
  changed.options.parallel.tensor = choice.tensor;
  changed.options.parallel.sequence = choice.sequence;
  changed.options.parallel.layout = choice.lab_ranks ? "split" : "interleaved";
  changed.options.parallel.lab_ranks = choice.lab_ranks.value_or(0);
  changed.options.parallel.zero = choice.zero;
  changed.options.recompute = choice.recompute;
  changed.options.micro_batch = choice.micro_batch;
  return changed;
}

std::string difference(const Choice& from, const Choice& to) {
  std::vector<std::string> parts;
  if (from.tensor != to.tensor) parts.push_back(fmt::format("parallel.tensor = {}", to.tensor));
  if (from.sequence != to.sequence) parts.push_back(fmt::format("parallel.sequence = {}", to.sequence));
  if (from.lab_ranks && !to.lab_ranks) parts.push_back("parallel.layout = interleaved");
  if (!from.lab_ranks && to.lab_ranks) parts.push_back("parallel.layout = split");
  if (from.lab_ranks != to.lab_ranks && to.lab_ranks) parts.push_back(fmt::format("parallel.lab_ranks = {}", *to.lab_ranks));
  if (from.zero != to.zero) parts.push_back(fmt::format("parallel.zero = {}", to.zero));
  if (from.recompute != to.recompute) parts.push_back("recompute = " + to.recompute);
  if (from.micro_batch != to.micro_batch) parts.push_back(fmt::format("micro_batch = {}", to.micro_batch));
  return fmt::format("{}", fmt::join(parts, ", "));
}

bool tight(const Candidate& candidate, const Machine& machine) {
  return candidate.bytes > 0.95 * machine.memory_gib * 0x1p30;
}

Search search(const Job& job) {
  Search found;
  for (const std::int64_t tensor : tensor_degrees(job)) {
    Choice choice = choice_of(job);
    choice.tensor = tensor;
    choice.sequence = false;
    choice.lab_ranks = {};
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
                                              difference({tensor, false, {}, choice.zero, "", 0}, least->choice))});
      }
      if (!found.least || least->bytes < found.least->bytes) found.least = std::move(least);
    }
  }
  std::stable_sort(found.best.begin(), found.best.end(), [&](const Candidate& a, const Candidate& b) {
    const bool last = tight(a, job.machine), too = tight(b, job.machine);
    return last == too ? faster(a, b) : too;
  });
  return found;
}

std::optional<Candidate> smallest_change(const Job& job) {
  const Choice given = choice_of(job);
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
    if (tensor <= given.tensor) continue;
    change(&Choice::tensor, tensor);
    if (job.split() && job.options.parallel.lab_ranks == 0 && job.ranks() >= 2 * tensor) {
      changes.back().lab_ranks = tensor * cluster::lab_rows(job.ranks() / tensor, tensor, 0);  // chosen anew
    }
  }
  std::optional<Candidate> best;
  for (const Choice& choice : changes) {
    try {
      check(with(job, choice));
    } catch (const Error&) {
      continue;
    }
    Candidate candidate = rehearsed(job, choice);
    if (fits(candidate, job) && (!best || faster(candidate, *best))) best = std::move(candidate);
  }
  if (best) return best;
  auto all = search(job).best;
  return all.empty() ? std::nullopt : std::optional(std::move(all.front()));
}

}  // namespace medfuse::plan
