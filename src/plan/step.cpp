#include "src/plan/step.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "src/plan/reducer.h"
#include "src/plan/small_models.h"
#include "src/plan/text_pass.h"
#include "src/plan/text_shape.h"
#include "src/plan/weight_units.h"

namespace medfuse::plan {

namespace {

/// The trained parameters of a stage, in the order of the forward pass, and where each adapter's gradient goes.
class Gradients : public GradientSink {
 public:
  Gradients(Rehearsal& rehearsal, const Job& job, Group group, WeightUnits& units, const TextShape* text,
            const std::vector<std::int64_t>& others) {
    std::vector<Parameter> parameters;
    if (text != nullptr) {
      for (std::int64_t block = 0; block < text->blocks; ++block) {
        const auto& projections = text->projections[static_cast<std::size_t>(block)];
        for (std::size_t i = 0; i < projections.size(); ++i) {
          if (!projections[i].adapted) continue;
          places_[{block, i}] = parameters.size();
          const auto unit = units.shares_adapters() ? std::optional(block) : std::nullopt;
          parameters.push_back({text->adapter_A(projections[i]), unit});
          parameters.push_back({text->adapter_B(projections[i]), unit});
        }
      }
    }
    first_other_ = parameters.size();
    others_ = others.size();
    for (const std::int64_t elements : others) parameters.push_back({elements});
    reducer_ = std::make_unique<Reducer>(rehearsal, job, group, units, std::move(parameters));
  }

  void arrive(std::int64_t block, std::size_t projection, int factor) override {
    const auto found = places_.find({block, projection});  // absent where the encoder is not trained
    if (found != places_.end()) reducer_->arrive(found->second + static_cast<std::size_t>(factor));
  }
  void others_arrive() {
    for (std::size_t i = others_; i-- > 0;) reducer_->arrive(first_other_ + i);
  }
  Reducer& reducer() { return *reducer_; }

 private:
  std::map<std::pair<std::int64_t, std::size_t>, std::size_t> places_;
  std::size_t first_other_ = 0;
  std::size_t others_ = 0;
  std::unique_ptr<Reducer> reducer_;
};

/// What is there on a rank before any step.
struct Standing {
  Standing(Rehearsal& r, const Job& job, const TextShape& shape, const SmallModels& small)
      : units(r, job, shape),
        pass(r, job, shape, units),
        others(r.hold(Item::small_models, small.sum() * job.state_bytes())) {
    if (shape.frozen > 0) cache = r.hold(Item::cache, job.options.text_cache_mib << 20);
  }
  WeightUnits units;
  TextPass pass;
  Held others, cache;
};

/// Runs each of the micro-batches, of which those between the first and the last are alike: one of them stands for all.
template <class Pass>
void run_passes(Rehearsal& r, const Portion& portion, Pass&& pass) {
  if (portion.passes > 1) pass(portion.micro, false);
  if (portion.passes > 2) {
    const Tally before = r.tally();
    pass(portion.micro, false);
    r.repeat(r.tally() - before, static_cast<double>(portion.passes - 3));
  }
  pass(portion.last(), true);
}

void encoders_step(Rehearsal& r, const Job& job, const Crew& crew, const TextShape& shape, const SmallModels& small,
                   Standing& there) {
  std::unique_ptr<Gradients> text, labs;
  if (crew.text) {
    text = std::make_unique<Gradients>(r, job, Group::task, there.units, &shape, std::vector{small.text_head});
  }
  if (crew.labs) {
    labs = std::make_unique<Gradients>(r, job, Group::task, there.units, nullptr, std::vector{small.labs});
  }
  if (text) {
    run_passes(r, portion(job, crew.task), [&](std::int64_t samples, bool last) {
      there.pass.forward(samples, true);
      text->reducer().prepare(last);
      text->others_arrive();
      there.pass.backward(*text);
    });
    text->reducer().reduce();
  }
  constexpr double pair = 2 * sizeof(double);
  if (labs) {
    r.among(Group::task, Flow::statistics, Collective::all_reduce, pair);  // cells
    pretrain_labs(r, job, (job.lab_batch() + crew.task - 1) / crew.task);
    labs->reducer().prepare(true);
    labs->others_arrive();
    labs->reducer().reduce();
  }
  if (job.split()) {
    // Each kind tells the other how it went.
    if (labs) r.among(Group::task, Flow::statistics, Collective::all_reduce, pair);
    r.among(Group::data, Flow::statistics, Collective::all_reduce, pair);
  }
  if (text) text->reducer().apply();
  if (labs) labs->reducer().apply();
}

void fusion_step(Rehearsal& r, const Job& job, const TextShape& shape, const SmallModels& small, Standing& there) {
  const train::TrainOptions& o = job.options;
  const bool uses_text = o.fusion.views != "labs", uses_labs = o.fusion.views != "text";
  const bool trains = o.fusion_stage.encoder_factor > 0;
  const bool information = o.fusion.views == "both" && o.fusion.mutual_information > 0;
  const Portion mine = portion(job, r.ranks(Group::data));
  const bool one_pass = mine.passes == 1;
  std::vector<std::int64_t> others;
  if (trains && uses_labs) others.push_back(small.lab_encoder);
  others.push_back(small.fusion);
  Gradients all(r, job, Group::data, there.units, trains && uses_text ? &shape : nullptr, others);
  std::unique_ptr<Gradients> estimator;
  if (information) {
    estimator = std::make_unique<Gradients>(r, job, Group::data, there.units, nullptr, std::vector{small.estimator});
  }

  const auto forward = [&](std::int64_t samples, bool graph) {
    if (uses_text) there.pass.forward(samples, graph && trains);
    return fuse(r, job, samples, graph);
  };
  Held fused;
  if (one_pass) {
    fused = forward(mine.samples, true);
  } else if (information) {
    run_passes(r, mine, [&](std::int64_t samples, bool) { forward(samples, false); });
  }
  const std::int64_t width = feature_width(job);
  const Held features = r.make(Item::small_activations, (information ? 6 : 2) * mine.samples * width, job.state_bytes());
  Held before;
  if (information) {
    // The estimator learns before the rest of the step is known to be good: what it was is kept to the end.
    before = r.make(Item::small_models, small.estimator + 2 * estimator->reducer().owned(), job.state_bytes());
    const auto moments = static_cast<double>(width * job.state_bytes());
    for (int i = 0; i < 4; ++i) r.among(Group::data, Flow::statistics, Collective::all_reduce, moments);
    for (std::int64_t i = 0; i < o.fusion_stage.estimator_steps; ++i) {
      estimator->reducer().prepare(true);
      r.multiply(3 * static_cast<double>(mine.samples), static_cast<double>(small.estimator), 1);
      estimator->others_arrive();
      estimator->reducer().reduce();
      estimator->reducer().apply();
    }
    r.among(Group::data, Flow::statistics, Collective::all_reduce, 8);
  }
  run_passes(r, mine, [&](std::int64_t samples, bool last) {
    if (!one_pass) fused = forward(samples, true);
    all.reducer().prepare(last);
    r.multiply(2 * static_cast<double>(samples * o.fusion.tokens), static_cast<double>(small.fusion), 1);
    all.others_arrive();
    fused.reset();
    if (trains && uses_text) there.pass.backward(all);
  });
  all.reducer().reduce();
  all.reducer().apply();
}

StagePlan rehearse(const Job& job, const std::string& stage, const Crew& crew) {
  const TextShape shape = text_shape(job);
  const SmallModels small = small_models(job);
  Rehearsal r(job, crew);
  Standing there(r, job, shape, small);
  const auto step = [&] {
    if (stage == "encoders") encoders_step(r, job, crew, shape, small, there);
    else fusion_step(r, job, shape, small, there);
  };
  // Of shared weights one unit is still there from the step before.
  if (job.options.parallel.zero == 3) step();
  const Tally before = r.tally();
  step();
  return {stage, crew.name, crew.size, r.memory().at_peak(), r.memory().peak(), r.tally() - before};
}

}  // namespace

double StagePlan::waiting() const {
  double sum = idle;
  for (const double seconds : step.waited) sum += seconds;
  return sum;
}

const StagePlan& Plan::largest() const {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const StagePlan& a, const StagePlan& b) { return a.peak_bytes < b.peak_bytes; });
}

const StagePlan& Plan::slowest() const {
  return *std::max_element(stages.begin(), stages.end(), [](const StagePlan& a, const StagePlan& b) {
    return a.step.seconds < b.step.seconds;
  });
}

double Plan::seconds() const {
  double sum = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (i == 0 || stages[i].name != stages[i - 1].name) sum += stages[i].seconds();
  }
  return sum;
}

double Plan::waiting() const {
  std::int64_t ranks = 0;  // of all crews of a stage
  for (const StagePlan& stage : stages) ranks += stage.name == stages[0].name ? stage.ranks : 0;
  double sum = 0;
  for (const StagePlan& stage : stages) {
    sum += stage.waiting() * static_cast<double>(stage.ranks) / static_cast<double>(ranks);
  }
  return sum;
}

double Plan::needed_bytes(const Machine& machine) const {
  return static_cast<double>(largest().peak_bytes) * (1 + machine.slack) + machine.context_mib * 1024 * 1024;
}

bool Plan::fits(const Machine& machine) const {
  return needed_bytes(machine) <= machine.memory_gib * 1024 * 1024 * 1024;
}

Plan plan(const Job& job) {
  check(job);
  if (job.options.stages.empty()) throw std::logic_error("plan: no stages");
  Plan result;
  for (const std::string& stage : job.options.stages) {
    const std::size_t first = result.stages.size();
    double slowest = 0;
    for (const Crew& crew : crews(job, stage)) {
      result.stages.push_back(rehearse(job, stage, crew));
      slowest = std::max(slowest, result.stages.back().step.seconds);
    }
    for (std::size_t i = first; i < result.stages.size(); ++i) {
      result.stages[i].idle = slowest - result.stages[i].step.seconds;
    }
  }
  return result;
}

}  // namespace medfuse::plan
