#include "cluster/slurm_limit.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/without_signals.h"

namespace medfuse::cluster {

namespace {

/// squeue tries for minutes to reach a controller that is away.
constexpr auto patience = std::chrono::seconds(60);
/// A limit that moved by less is the same: Slurm rounds, and shifts it by what a job waited while suspended.
constexpr auto change = std::chrono::seconds(5);
constexpr std::array<std::string_view, 5> no_limit = {"N/A", "NONE", "Unknown", "UNLIMITED", "n/a"};

EndTime read_line(const std::string& line) {
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), seconds);
  if (error == std::errc() && end == line.data() + line.size()) {
    return {true, std::chrono::system_clock::from_time_t(static_cast<std::time_t>(seconds))};
  }
  if (std::find(no_limit.begin(), no_limit.end(), line) != no_limit.end()) return {true, std::nullopt};
  struct tm fields {};
  const char* rest = ::strptime(line.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
  if (rest == nullptr || *rest != '\0') return {};
  fields.tm_isdst = -1;
  const std::time_t time = std::mktime(&fields);
  if (time == -1) return {};
  return {true, std::chrono::system_clock::from_time_t(time)};
}

std::string clock_text(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  struct tm fields {};
  ::localtime_r(&seconds, &fields);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &fields);
  return text;
}

std::string limit_line(const std::optional<WallTime>& end) {
  if (!end) return "Slurm sets this job no time limit";
  const double left = std::chrono::duration<double>(*end - std::chrono::system_clock::now()).count();
  return fmt::format("Slurm ends this job at {}, in {:.0f} s", clock_text(*end), left);
}

}  // namespace

EndTime read_end_time(const std::string& text) {
  EndTime earliest;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, std::min(line.size(), line.find_first_not_of(" \t")));
    if (line.empty()) continue;
    const EndTime one = read_line(line);
    if (!one.understood) return {};
    earliest.understood = true;
    if (one.time) earliest.time = earliest.time ? std::min(*earliest.time, *one.time) : *one.time;
  }
  return earliest;
}

SlurmLimit::SlurmLimit(Ask ask, double every, std::optional<WallTime> first)
    : ask_(std::move(ask)), every_(every), end_(first), thread_([this] { run(); }) {}

SlurmLimit::~SlurmLimit() {
  wake_.wake();
  thread_.join();
}

std::unique_ptr<SlurmLimit> SlurmLimit::of_this_job(double every) {
  const char* job = std::getenv("SLURM_JOB_ID");
  if (job == nullptr || every <= 0) return nullptr;
  std::optional<WallTime> first;
  if (const char* end = std::getenv("SLURM_JOB_END_TIME")) first = read_end_time(end).time;
  const auto ask = [id = std::string(job)](const WakeUp& wake) {
    // Seconds since 1970 leave no doubt about time zones; a squeue that does not know the format prints local time.
    return program_output({"squeue", "-h", "-j", id, "-o", "%e"}, {"SLURM_TIME_FORMAT=%s"}, patience, wake);
  };
  return std::make_unique<SlurmLimit>(ask, every, first);
}

void SlurmLimit::run() {
  const WithoutSignals for_training;
  const int pause = static_cast<int>(std::min(every_, 1e6) * 1000);
  struct pollfd woken = {wake_.descriptor(), POLLIN, 0};
  do {
    take(ask_(wake_));
  } while (::poll(&woken, 1, pause) == 0);
}

void SlurmLimit::take(const ProgramOutput& output) {
  const EndTime answer = output.ok ? read_end_time(output.text) : EndTime{};
  const std::lock_guard lock(mutex_);
  if (!answer.understood) {
    if (warned_) return;
    warned_ = true;
    news_.push_back(fmt::format(
        "warning: squeue {}: {}; it is asked again every {:g} s", output.ok ? "printed no time" : output.failure,
        end_ ? "the time limit known so far is kept" : "this run does not know its time limit and cannot stop before it",
        every_));
    return;
  }
  end_ = answer.time;
  const bool moved = told_.has_value() != end_.has_value() || (end_ && (*end_ > *told_ + change || *told_ > *end_ + change));
  if (!moved) return;
  told_ = end_;
  news_.push_back(limit_line(end_));
}

std::optional<WallTime> SlurmLimit::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

std::vector<std::string> SlurmLimit::news() {
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

}  // namespace medfuse::cluster
