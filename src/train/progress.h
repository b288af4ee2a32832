// What a person sees of a running stage: one line that renews itself on a terminal, plain lines now and then in a file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>

namespace medfuse::train {

struct ProgressOptions {
  std::ostream* out = nullptr;             ///< nullptr: standard error
  bool terminal = false;                   ///< renew one line in place
  std::function<int()> width;              ///< columns of the terminal now; unset: 80
  std::function<double()> seconds;         ///< a steady clock; unset: std::chrono::steady_clock
  std::function<std::int64_t()> memory;    ///< bytes in use by this process; unset: resident_bytes()
  double every_seconds = 10;               ///< between plain lines; a terminal is renewed ten times a second at most
};

/// Standard error: a terminal or not as isatty() says, or launch/mpirun.sh about what is behind mpirun's pipe.
ProgressOptions progress_on_standard_error();

/// Stage, step, loss, samples/s, tokens/s, memory, time left. Rates are smoothed over half a minute. On a terminal
/// the least important parts are left out where the line would not fit. One thread, one rank.
class Progress {
 public:
  explicit Progress(ProgressOptions options = progress_on_standard_error());
  ~Progress();                             ///< ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// A stage of `total` steps starts, with `done` of them done before (a resumed run).
  void begin(const std::string& stage, std::int64_t done, std::int64_t total);

  /// `done` steps are done; `samples` and `tokens` went into the steps since the last call, over all ranks.
  /// loss: none where nothing is learned. gpu_bytes: memory in use on the device, 0 where there is none.
  void update(std::int64_t done, std::optional<double> loss, std::int64_t samples, std::int64_t tokens, std::int64_t gpu_bytes = 0);

  /// Shows the last state and ends the line. Does nothing where no stage runs.
  void finish();

  /// Prints a line of its own without tearing the progress line, e.g. "checkpoint step-000000100 written".
  void message(const std::string& line);

 private:
  std::string line(int columns) const;     ///< columns 0: no limit
  void show();

  ProgressOptions options_;
  std::string stage_;
  std::int64_t done_ = 0;
  std::int64_t total_ = 0;
  std::optional<double> loss_;
  std::int64_t gpu_bytes_ = 0;
  double started_ = 0;                     ///< of the stage
  double last_ = 0;                        ///< time of the last update
  double shown_ = 0;                       ///< time of the last output
  bool unshown_ = false;                   ///< there is news since the last output
  bool running_ = false;
  double weight_seconds_ = 0;              ///< sums that fade with age, whose ratios are the rates
  double weight_steps_ = 0;
  double weight_samples_ = 0;
  double weight_tokens_ = 0;
};

}  // namespace medfuse::train
