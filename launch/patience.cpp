#include "launch/patience.h"

#include <algorithm>
#include <cstdint>

#include "cluster/job_watch.h"

namespace medfuse::launch {

namespace {

/// Of the longest step: steps vary, and what one has needed may happen again.
constexpr int leeway = 3;

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

std::chrono::milliseconds start_limit(const train::TimeoutOptions& limits) {
  // What cannot be is refused later, with a message.
  const double seconds = limits.start >= 1 && limits.start <= 1e9 ? limits.start : train::TimeoutOptions().start;
  return milliseconds_of(seconds);
}

Patience::Patience(cluster::Process& process, const train::TimeoutOptions& limits)
    : watchdog_(process.watch().watchdog()), limits_(limits) {
  process.set_timeout(cluster::no_limit);
  enter(train::Part::start, "starting");
}

void Patience::enter(train::Part part, const std::string& what) {
  if (stepping_) longest_step_ = std::max(longest_step_, watchdog_.now().lasted);
  stepping_ = part == train::Part::first_step || part == train::Part::step;
  switch (part) {
    case train::Part::start:
    case train::Part::first_step: return watchdog_.begin(what, milliseconds_of(limits_.start), "timeout.start");
    case train::Part::step:
      return watchdog_.begin(what, std::max(milliseconds_of(limits_.step), leeway * longest_step_), "timeout.step");
    case train::Part::save: return watchdog_.begin(what, milliseconds_of(limits_.save), "timeout.save");
  }
}

}  // namespace medfuse::launch
