#include "src/plan/rehearsal.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace medfuse::plan {

const char* name_of(Flow flow) {
  switch (flow) {
    case Flow::gradients: return "gradients";
    case Flow::parameters: return "updated parameters";
    case Flow::weights: return "frozen weights";
    case Flow::tensor: return "tensor group";
    case Flow::statistics: return "moments, norms, counts";
  }
  throw std::logic_error("name_of: no such flow");
}

Tally& Tally::operator+=(const Tally& other) {
  seconds += other.seconds;
  flops += other.flops;
  for (std::size_t i = 0; i < kFlows; ++i) {
    sent[i] += other.sent[i];
    waited[i] += other.waited[i];
  }
  return *this;
}

Tally Tally::operator-(const Tally& other) const {
  Tally result = other * -1.0;
  result += *this;
  return result;
}

Tally Tally::operator*(double factor) const {
  Tally result = *this;
  result.seconds *= factor;
  result.flops *= factor;
  for (std::size_t i = 0; i < kFlows; ++i) {
    result.sent[i] *= factor;
    result.waited[i] *= factor;
  }
  return result;
}

Rehearsal::Rehearsal(const Job& job, const Crew& crew)
    : links_{tensor_link(job.machine, job.placement()), data_link(job.machine, job.placement()),
             crew.text ? data_link(job.machine, job.placement(), crew.task)
                       : neighbours_link(job.machine, job.placement(), crew.task),
             data_link(job.machine, job.placement(), crew.sharing)},
      flops_(job.flops()),
      bandwidth_(job.machine.memory_bandwidth),
      least_(job.machine.operation_seconds),
      matrix_bytes_(static_cast<double>(job.compute_bytes())),
      cuda_(job.machine.cuda) {}

Held Rehearsal::make(Item item, std::int64_t elements, std::int64_t element_bytes) {
  const std::int64_t bytes = elements * element_bytes;
  touch(2 * static_cast<double>(bytes));
  return memory_.hold(item, bytes);
}

void Rehearsal::multiply(double rows, double in, double out) {
  const double flops = 2 * rows * in * out;
  tally_.flops += flops;
  spend(std::max({least_, flops / flops_, in * out * matrix_bytes_ / bandwidth_}));
}

void Rehearsal::touch(double bytes) { spend(std::max(least_, bytes / bandwidth_)); }

void Rehearsal::products(double flops) {
  tally_.flops += flops;
  spend(std::max(least_, flops / flops_));
}

void Rehearsal::among_tensor(Collective collective, double bytes) {
  const Link& tensor = link(Group::tensor);
  if (tensor.ranks == 1) return;
  const auto staged = collective == Collective::all_gather ? nullptr : staging(Item::working, bytes, Group::tensor);
  const double seconds = tensor.seconds(collective, bytes);
  const auto flow = static_cast<std::size_t>(Flow::tensor);
  tally_.sent[flow] += sent_bytes(collective, bytes, tensor.ranks);
  tally_.waited[flow] += seconds;
  spend(seconds);
}

void Rehearsal::among(Group group, Flow flow, Collective collective, double bytes) {
  wait(flow, start(group, flow, collective, bytes));
}

double Rehearsal::start(Group group, Flow flow, Collective collective, double bytes) {
  const Link& others = link(group);
  if (others.ranks == 1) return tally_.seconds;
  tally_.sent[static_cast<std::size_t>(flow)] += sent_bytes(collective, bytes, others.ranks);
  free_ = std::max(free_, tally_.seconds) + others.seconds(collective, bytes);
  return free_;
}

void Rehearsal::wait(Flow flow, double until) {
  const double seconds = std::max(0.0, until - tally_.seconds);
  tally_.waited[static_cast<std::size_t>(flow)] += seconds;
  spend(seconds);
}

Held Rehearsal::staging(Item item, double bytes, Group group) {
  return cuda_ || link(group).nodes == 1 ? nullptr : memory_.hold(item, static_cast<std::int64_t>(std::ceil(bytes)));
}

void Rehearsal::repeat(const Tally& what, double times) {
  tally_ += what * times;
  free_ = std::max(free_, tally_.seconds);
}

}  // namespace medfuse::plan
