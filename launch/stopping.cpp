#include "launch/stopping.h"

#include <chrono>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace medfuse::launch {
namespace fs = std::filesystem;

Stopping::Stopping(const train::StopOptions& options, bool leads)
    : options_(options),
      leads_(leads),
      signals_(cluster::signal_numbers(options.signals)) {
  if (leads_) slurm_ = cluster::SlurmLimit::of_this_job(options_.slurm_every);
  train::StopSurroundings surroundings;
  surroundings.seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  surroundings.signal = [this] { return signals_.received(); };
  surroundings.file_there = [this] {
    std::error_code ignored;
    return !file_.empty() && fs::exists(file_, ignored);
  };
  surroundings.job_seconds_left = [this] { return job_seconds_left(); };
  watch_ = std::make_unique<train::StopWatch>(options_, std::move(surroundings), leads_);
}

void Stopping::say(const std::string& line) const {
  if (line_taker_) line_taker_(line);
  else fmt::print(stderr, "{}\n", line);
}

std::optional<double> Stopping::job_seconds_left() {
  if (!slurm_) return std::nullopt;
  for (const std::string& line : slurm_->news()) say(line);
  const auto end = slurm_->end();
  if (!end) return std::nullopt;
  return std::chrono::duration<double>(*end - std::chrono::system_clock::now()).count();
}

bool Stopping::asked_early(cluster::Process& process) {
  const auto vote = process.all_reduce(watch_->early_vote(), cluster::Combine::max);
  if (vote > 0 && leads_) say("stopped before the weights were loaded: " + watch_->reason(vote));
  return vote > 0;
}

void Stopping::watch_file(const fs::path& run) {
  file_ = options_.file.empty() ? run / "stop" : fs::path(options_.file);
  watch_->name_file(file_.string());
  std::error_code ignored;
  if (fs::is_directory(file_, ignored)) {
    usage_error("stop.file {}: is a folder; give the path of a file that need not be there", file_.string());
  }
}

void Stopping::carried_out() {
  slurm_.reset();
  std::error_code error;
  if (leads_ && !file_.empty()) fs::remove(file_, error);
  if (error) {
    say(fmt::format("warning: {}: cannot be removed: {}; remove it, or the next start stops at once", file_.string(),
                    error.message()));
  }
}

}  // namespace medfuse::launch
