#include "src/plan/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "src/plan/crew.h"
#include "src/plan/text_shape.h"

namespace medfuse::plan {

namespace {

std::string size_of(double bytes) {
  if (bytes == 0) return "-";
  if (bytes < 0x1p20) return fmt::format("{:.1f} KiB", bytes / 0x1p10);
  if (bytes < 0x1p30) return fmt::format("{:.1f} MiB", bytes / 0x1p20);
  return fmt::format("{:.2f} GiB", bytes / 0x1p30);
}

std::string time_of(double seconds) {
  if (seconds == 0) return "-";
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

double tokens_per_second(const Job& job, const Candidate& candidate) {
  const auto stages = static_cast<double>(job.options.stages.size());
  return stages * static_cast<double>(job.options.batch * job.tokens) / candidate.plan.seconds();
}

/// "4 x 2s", and with a split encoder stage "3+1 x 2s".
std::string mesh_of(std::int64_t ranks, const Choice& c) {
  const std::int64_t groups = ranks / c.tensor, for_labs = c.lab_ranks.value_or(0) / c.tensor;
  return fmt::format("{}{} x {}{}", groups - for_labs, for_labs > 0 ? fmt::format("+{}", for_labs) : "", c.tensor,
                     c.sequence ? "s" : "");
}

std::string memory_of(const Candidate& c, const Machine& machine) {
  return size_of(c.bytes) + (tight(c, machine) ? "!" : "");
}

/// What a rank does in a step of the text encoder.
std::string samples_of(const Portion& p) {
  return fmt::format("{} in {} micro-batch{} of {}", p.samples, p.passes, p.passes == 1 ? "" : "es", p.micro);
}

}  // namespace

std::string headline(const Job& job) {
  const TextShape shape = text_shape(job);
  const train::ParallelOptions& p = job.options.parallel;
  const auto frozen = static_cast<double>(shape.embedding() + shape.blocks * shape.block());
  std::string text = fmt::format(
      "text encoder: {} blocks of width {}, {:.3f} billion frozen parameters and {:.1f} million in adapters on a rank of a "
      "tensor group, {}\n",
      shape.blocks, shape.width, frozen / 1e9, static_cast<double>(shape.adapters()) / 1e6, job.options.precision);
  text += fmt::format("mesh: {} ranks = {} data x {} tensor{} on {} node{}, zero {}, recompute {}; {}\n", job.ranks(),
                      job.data(), p.tensor, p.sequence && p.tensor > 1 ? " (sequence)" : "", job.nodes,
                      job.nodes == 1 ? "" : "s", p.zero, job.options.recompute, job.machine.name);
  text += fmt::format("step: {} samples of {} tokens, on a rank {}\n", job.options.batch, job.tokens,
                      samples_of(portion(job, job.data())));
  if (job.options.batch < job.data()) {
    text += fmt::format("{} of the {} data ranks have no sample: batch is too small for them\n",
                        job.data() - job.options.batch, job.data());
  }
  if (job.split() && job.has_encoders()) {
    const std::int64_t groups = text_groups(job), lab_ranks = (job.data() - groups) * p.tensor;
    text += fmt::format("encoder stage: {} data x {} tensor for the text, on a rank {}; {} for the labs, on a rank {} of {}\n",
                        groups, p.tensor, samples_of(portion(job, groups)), lab_ranks,
                        (job.lab_batch() + lab_ranks - 1) / lab_ranks, job.lab_batch());
  }
  return text;
}

std::string memory_table(const Job& job, const Plan& plan) {
  std::string text = fmt::format("\n{:<34}", "memory of a rank at its peak");
  for (const StagePlan& stage : plan.stages) text += fmt::format("{:>16}", stage.title());
  text += "\n";
  for (std::size_t i = 0; i < kItems; ++i) {
    const bool any = std::any_of(plan.stages.begin(), plan.stages.end(), [&](const auto& s) { return s.peak[i] > 0; });
    if (!any) continue;
    text += fmt::format("  {:<32}", name_of(static_cast<Item>(i)));
    for (const StagePlan& stage : plan.stages) text += fmt::format("{:>16}", size_of(static_cast<double>(stage.peak[i])));
    text += "\n";
  }
  const Machine& m = job.machine;
  const auto row = [&](const char* name, auto&& bytes) {
    text += fmt::format("  {:<32}", name);
    for (const StagePlan& stage : plan.stages) text += fmt::format("{:>16}", size_of(bytes(stage)));
    text += "\n";
  };
  row("tensors together", [](const StagePlan& s) { return static_cast<double>(s.peak_bytes); });
  if (m.slack > 0) {
    row("lost by the allocator", [&](const StagePlan& s) { return m.slack * static_cast<double>(s.peak_bytes); });
  }
  if (m.context_mib > 0) row("driver, libraries", [&](const StagePlan&) { return m.context_mib * 0x1p20; });
  text += fmt::format("  {:<32}{:>16} of {:.1f} GiB\n", "needed", size_of(plan.needed_bytes(m)), m.memory_gib);
  return text;
}

std::string traffic_table(const Job& job, const Plan& plan) {
  std::string text = fmt::format("\n{:<34}", "a step: sent by a rank, waited for");
  for (const StagePlan& stage : plan.stages) text += fmt::format("{:>28}", stage.title());
  text += "\n";
  for (std::size_t i = 0; i < kFlows; ++i) {
    const bool any = std::any_of(plan.stages.begin(), plan.stages.end(), [&](const auto& s) { return s.step.sent[i] > 0; });
    if (!any) continue;
    text += fmt::format("  {:<32}", name_of(static_cast<Flow>(i)));
    for (const StagePlan& stage : plan.stages) {
      text += fmt::format("{:>16}{:>12}", size_of(stage.step.sent[i]), time_of(stage.step.waited[i]));
    }
    text += "\n";
  }
  text += fmt::format("  {:<32}", "computing");
  for (const StagePlan& stage : plan.stages) text += fmt::format("{:>28}", time_of(stage.seconds() - stage.waiting()));
  if (job.split() && job.has_encoders()) {
    text += fmt::format("\n  {:<32}", "waiting for the other encoder");
    for (const StagePlan& stage : plan.stages) text += fmt::format("{:>28}", time_of(stage.idle));
  }
  text += fmt::format("\n  {:<32}", "a step");
  for (const StagePlan& stage : plan.stages) text += fmt::format("{:>28}", time_of(stage.seconds()));
  text += fmt::format("\n  {:<32}", "tokens/s, all ranks");
  for (const StagePlan& stage : plan.stages) {
    text += fmt::format("{:>28.0f}", static_cast<double>(job.options.batch * job.tokens) / stage.seconds());
  }
  return text + "\n";
}

std::string best_table(const Job& job, const Search& found, std::size_t rows) {
  std::string text = fmt::format("\nthe fastest of {} that fit (s: sequence parallelism; +: groups for the labs; !: tight)\n",
                                 found.best.size());
  text += fmt::format("  {:<16}{:>6}{:>12}{:>13}{:>12}{:>12}{:>12}{:>10}\n", "data x tensor", "zero", "recompute",
                      "micro-batch", "memory", "steps", "tokens/s", "waiting");
  for (std::size_t i = 0; i < std::min(rows, found.best.size()); ++i) {
    const Candidate& c = found.best[i];
    text += fmt::format("  {:<16}{:>6}{:>12}{:>13}{:>12}{:>12}{:>12.0f}{:>9.1f}%\n", mesh_of(job.ranks(), c.choice),
                        c.choice.zero, c.choice.recompute, c.choice.micro_batch, memory_of(c, job.machine),
                        time_of(c.plan.seconds()), tokens_per_second(job, c), 100 * c.plan.waiting() / c.plan.seconds());
  }
  if (!found.refusals.empty()) text += "not among them\n";
  for (const Refusal& r : found.refusals) text += fmt::format("  tensor {}, zero {}: {}\n", r.tensor, r.zero, r.reason);
  return text;
}

std::string refusal(const Job& job, const Plan& plan) {
  const std::string needs = fmt::format("a rank needs {:.1f} GiB in stage {}, and {} has {:.1f}",
                                        plan.needed_bytes(job.machine) / 0x1p30, plan.largest().title(), job.machine.name,
                                        job.machine.memory_gib);
  if (const auto change = smallest_change(job)) {
    return fmt::format("{}; with {} it needs {:.1f}", needs, difference(choice_of(job), change->choice),
                       change->bytes / 0x1p30);
  }
  const auto least = search(job).least;
  if (!least) return needs + "; no other mesh of these ranks is possible";
  return fmt::format("{}; no mesh of these {} ranks fits, the least is {:.1f} with {}: take more or larger ranks", needs,
                     job.ranks(), least->bytes / 0x1p30, difference(choice_of(job), least->choice));
}

std::string scaling_table(const Job& job, const std::string& model, Scaling scaling, std::int64_t samples,
                          const std::vector<std::int64_t>& sizes) {
  std::string text = fmt::format("\n{}, {} scaling: {} samples of {} tokens {}, {}, {}\n", model,
                                 scaling == Scaling::weak ? "weak" : "strong", samples, job.tokens,
                                 scaling == Scaling::weak ? "for each GPU" : "in a step", job.options.precision,
                                 job.machine.name);
  text += fmt::format("  {:>6}{:>15}{:>6}{:>12}{:>13}{:>12}{:>12}{:>14}{:>12}{:>10}{:>9}\n", "GPUs", "data x tensor", "zero",
                      "recompute", "micro-batch", "memory", "steps", "tokens/s", "a GPU", "against", "waiting");
  double reference = 0;  // tokens/s of a GPU on the fewest that fit
  for (const std::int64_t size : sizes) {
    Job sized = job;
    sized.per_node = std::min(size, job.machine.ranks);
    sized.nodes = size / sized.per_node;
    sized.options.batch = scaling == Scaling::weak ? samples * size : samples;
    sized.options.parallel.layout = "interleaved";  // what the search begins with, since one rank cannot be split
    const Search found = search(sized);
    if (found.best.empty()) {
      text += fmt::format("  {:>6}  does not fit: at least {}\n", size, found.least ? size_of(found.least->bytes) : "-");
      continue;
    }
    const Candidate& best = found.best.front();
    const double rate = tokens_per_second(sized, best);
    const double each = rate / static_cast<double>(size);
    if (reference == 0) reference = each;
    text += fmt::format("  {:>6}{:>15}{:>6}{:>12}{:>13}{:>12}{:>12}{:>14.0f}{:>12.0f}{:>9.0f}%{:>8.1f}%\n", size,
                        mesh_of(size, best.choice), best.choice.zero, best.choice.recompute, best.choice.micro_batch,
                        memory_of(best, job.machine), time_of(best.plan.seconds()), rate, each, 100 * each / reference,
                        100 * best.plan.waiting() / best.plan.seconds());
  }
  return text;
}

}  // namespace medfuse::plan
