#include "src/train/stop_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/stop_signals.h"

namespace medfuse::train {

namespace {

// Votes: the number of a signal, or one of these, which only rank 0 gives.
constexpr std::int64_t vote_file = 1001, vote_after = 1002, vote_limit = 1003;

constexpr std::size_t steps_remembered = 64, saves_remembered = 4;
constexpr double step_factor = 1.5;  ///< the next step may be slower than any of late
constexpr double save_rate = 1e8;    ///< bytes/s to expect of a disk that was not written to yet
constexpr double file_every = 1;     ///< seconds between looks: a shared file system is asked over the network

}  // namespace

StopWatch::StopWatch(const StopOptions& options, StopSurroundings surroundings, bool leads)
    : options_(options), surroundings_(std::move(surroundings)), leads_(leads), began_(surroundings_.seconds()) {}

void StopWatch::step_begins() { step_began_ = surroundings_.seconds(); }

void StopWatch::step_ended() {
  stepped_ = true;
  steps_.push_back(surroundings_.seconds() - step_began_);
  if (steps_.size() > steps_remembered) steps_.pop_front();
}

void StopWatch::saved(double seconds, std::int64_t bytes) {
  saving_ = false;
  saves_.push_back({seconds, static_cast<double>(bytes)});
  if (saves_.size() > saves_remembered) saves_.pop_front();
}

double StopWatch::lead() const {
  const double step = steps_.empty() ? 0 : *std::max_element(steps_.begin(), steps_.end());
  const auto bytes = static_cast<double>(next_bytes_);
  double save = saves_.empty() ? bytes / save_rate : 0;
  for (const Save& one : saves_) {
    // A stage that keeps more than the one before takes longer to save.
    save = std::max(save, one.seconds * std::max(1.0, one.bytes > 0 ? bytes / one.bytes : 1.0));
  }
  return step_factor * step + (saving_ ? 2 : 1) * save + options_.margin;
}

std::optional<double> StopWatch::seconds_left() const {
  std::optional<double> left;
  if (surroundings_.job_seconds_left) left = surroundings_.job_seconds_left();
  if (options_.limit > 0) {
    const double own = began_ + options_.limit - surroundings_.seconds();
    left = left ? std::min(*left, own) : own;
  }
  return left;
}

bool StopWatch::file_asks() {
  if (file_seen_ || !surroundings_.file_there) return file_seen_;
  const double now = surroundings_.seconds();
  if (file_asked_ && now - *file_asked_ < file_every) return false;
  file_asked_ = now;
  file_seen_ = surroundings_.file_there();
  return file_seen_;
}

std::int64_t StopWatch::early_vote() {
  if (surroundings_.signal) {
    if (const int signal = surroundings_.signal(); signal != 0) return signal;
  }
  if (!leads_) return 0;
  const auto left = seconds_left();
  if (!left || *left > lead()) return 0;
  left_ = *left;
  needed_ = lead();
  return vote_limit;
}

std::int64_t StopWatch::vote() {
  if (const auto early = early_vote(); early != 0 || !leads_) return early;
  if (file_asks()) return vote_file;
  if (stepped_ && options_.after > 0 && surroundings_.seconds() - began_ >= options_.after) return vote_after;
  return 0;
}

std::string StopWatch::reason(std::int64_t agreed) const {
  switch (agreed) {
    case vote_file: return "the stop file " + options_.file;
    case vote_after: return fmt::format("stop.after = {} s are over", options_.after);
    case vote_limit:
      return fmt::format("{:.0f} s left of the job's time, a step and a save take up to {:.0f} s", std::max(0.0, left_),
                         needed_);
    default: return cluster::signal_name(static_cast<int>(agreed));
  }
}

}  // namespace medfuse::train
