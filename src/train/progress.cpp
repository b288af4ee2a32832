#include "src/train/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "src/train/memory.h"

namespace medfuse::train {
namespace {

constexpr double kSmoothingSeconds = 30;  // after so long, a step's share in the rates has fallen to 1/e
constexpr double kTerminalSeconds = 0.1;
constexpr const char* kTold = "MEDFUSE_TERMINAL";  // by launch/mpirun.sh: columns of the terminal behind mpirun's pipe

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* const told = std::getenv(kTold);
  return told != nullptr && std::atoi(told) > 0 ? std::atoi(told) : 80;
}

/// "45s", "12m05s", "3h07m", "2d04h".
std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

/// "7.4", "812", "12.3k", "1.2M".
std::string format_rate(double rate) {
  if (rate < 9.95) return fmt::format("{:.1f}", rate);
  if (rate < 999.5) return fmt::format("{:.0f}", rate);
  if (rate < 999.5e3) return fmt::format("{:.{}f}k", rate / 1e3, rate < 99.95e3 ? 1 : 0);
  return fmt::format("{:.{}f}M", rate / 1e6, rate < 99.95e6 ? 1 : 0);
}

}  // namespace

ProgressOptions progress_on_standard_error() {
  ProgressOptions options;
  options.terminal = ::isatty(STDERR_FILENO) == 1 || std::getenv(kTold) != nullptr;
  options.width = terminal_width;
  return options;
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.out) options_.out = &std::cerr;
  if (!options_.width) options_.width = [] { return 80; };
  if (!options_.seconds) options_.seconds = steady_seconds;
  if (!options_.memory) options_.memory = resident_bytes;
}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // a broken stream must not end the program from a destructor
  }
}

void Progress::begin(const std::string& stage, std::int64_t done, std::int64_t total) {
  finish();
  stage_ = stage;
  done_ = done;
  total_ = total;
  loss_.reset();
  gpu_bytes_ = 0;
  weight_seconds_ = weight_steps_ = weight_samples_ = weight_tokens_ = 0;
  started_ = last_ = shown_ = options_.seconds();
  running_ = true;
  unshown_ = false;
}

void Progress::update(std::int64_t done, std::optional<double> loss, std::int64_t samples, std::int64_t tokens,
                      std::int64_t gpu_bytes) {
  const double now = options_.seconds();
  const double elapsed = std::max(0.0, now - last_);
  const double fade = std::exp(-elapsed / kSmoothingSeconds);
  weight_seconds_ = weight_seconds_ * fade + elapsed;
  weight_steps_ = weight_steps_ * fade + static_cast<double>(done - done_);
  weight_samples_ = weight_samples_ * fade + static_cast<double>(samples);
  weight_tokens_ = weight_tokens_ * fade + static_cast<double>(tokens);
  done_ = done;
  loss_ = loss;
  gpu_bytes_ = gpu_bytes;
  last_ = now;
  unshown_ = true;
  if (now - shown_ >= (options_.terminal ? kTerminalSeconds : options_.every_seconds)) show();
}

void Progress::finish() {
  if (!running_) return;
  if (unshown_) show();
  if (options_.terminal) *options_.out << '\n' << std::flush;
  running_ = false;
}

void Progress::message(const std::string& text) {
  if (options_.terminal && running_) {
    *options_.out << "\r\x1b[K" << text << '\n';
    show();
  } else {
    *options_.out << text << '\n' << std::flush;
  }
}

void Progress::show() {
  if (options_.terminal) {
    // The last column stays free: some terminals wrap as soon as it is written.
    *options_.out << '\r' << line(std::max(1, options_.width() - 1)) << "\x1b[K" << std::flush;
  } else {
    *options_.out << line(0) << '\n' << std::flush;
  }
  shown_ = options_.seconds();
  unshown_ = false;
}

std::string Progress::line(int columns) const {
  struct Part {
    int rank;  ///< parts of a high rank are the first to be left out
    std::string text;
  };
  std::vector<Part> parts;
  parts.push_back({0, stage_});
  const double share = total_ > 0 ? 100.0 * static_cast<double>(done_) / static_cast<double>(total_) : 100;
  parts.push_back({1, fmt::format("{}/{}", done_, total_)});
  parts.push_back({5, fmt::format("{:.0f}%", std::floor(share))});
  if (loss_) parts.push_back({2, fmt::format("loss {:.4f}", *loss_)});
  if (weight_seconds_ > 0) {
    parts.push_back({6, format_rate(weight_samples_ / weight_seconds_) + " samples/s"});
    if (weight_tokens_ > 0) parts.push_back({4, format_rate(weight_tokens_ / weight_seconds_) + " tokens/s"});
  }
  parts.push_back({7, "mem " + format_bytes(options_.memory())});
  if (gpu_bytes_ > 0) parts.push_back({8, "gpu " + format_bytes(gpu_bytes_)});
  if (done_ >= total_) {
    parts.push_back({3, "took " + format_duration(last_ - started_)});
  } else if (weight_steps_ > 0) {
    const double left = static_cast<double>(total_ - done_) * weight_seconds_ / weight_steps_;
    parts.push_back({3, "ETA " + format_duration(left)});
  }

  for (;;) {
    std::string text;
    for (const Part& part : parts) text += (text.empty() ? "" : "  ") + part.text;
    if (columns == 0 || static_cast<int>(text.size()) <= columns) return text;
    if (parts.size() == 1) return text.substr(0, static_cast<std::size_t>(columns));
    parts.erase(std::max_element(parts.begin(), parts.end(),
                                 [](const Part& a, const Part& b) { return a.rank < b.rank; }));
  }
}

}  // namespace medfuse::train
