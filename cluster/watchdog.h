// Sees to it that this rank does not stay in one phase of its work for ever, whatever holds it up: a peer that never comes, a
// file system, a kernel, a destructor. A thread of its own looks at the phase; what then happens is for others to decide.
// Standard library only, so that it can be built with the thread sanitizer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "cluster/awake_time.h"

namespace medfuse::cluster {

/// What this rank is about.
struct Phase {
  std::string name;                      ///< "step 12 of stage fusion"; empty: nothing in particular
  std::chrono::milliseconds allowed{0};  ///< 0: any time
  std::string option;                    ///< that sets this limit: "timeout.step"; empty: none does
  std::chrono::milliseconds lasted{0};   ///< so far, as long as this process ran
  std::uint64_t number = 0;              ///< of the phases: another number is another phase

  bool is_over() const { return allowed.count() > 0 && lasted > allowed; }
};

/// The phase and its time, without a thread: what the watchdog looks at.
class PhaseTimer {
 public:
  using Clock = AwakeTime::Clock;

  void begin(Phase phase, Clock::time_point now = Clock::now());
  /// The phase, with its time.
  Phase look(Clock::time_point now = Clock::now());
  /// Whether to act: it is over, and at least `pause` since the last time is too.
  bool is_due() const { return phase_.is_over() && phase_.lasted >= next_; }
  void pause(std::chrono::milliseconds pause) { next_ = phase_.lasted + pause; }

 private:
  Phase phase_;
  AwakeTime time_;
  std::chrono::milliseconds next_{0};
};

/// One thread, from construction to stop(). Safe to use from several threads.
class Watchdog {
 public:
  /// Called on the watchdog's thread, again and again while a phase is over. Says how long to leave it alone then.
  using Over = std::function<std::chrono::milliseconds(const Phase&)>;
  /// Called on that thread at each look, whatever the phase.
  using Look = std::function<void()>;

  Watchdog(Over over, Look look, std::chrono::milliseconds every = std::chrono::milliseconds(100));
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Ends the phase before and begins this one, which may take `allowed`. Without a limit it may take any time.
  void begin(const std::string& name, std::chrono::milliseconds allowed = {}, const std::string& option = "");
  /// Ends it, and nothing follows that could take too long.
  void rest() { begin(""); }
  /// The phase under way.
  Phase now();
  /// Ends the thread; harmless if called again. Not to be called by the functions given above.
  void stop();

 private:
  void run();

  Over over_;
  Look look_;
  std::chrono::milliseconds every_;
  std::mutex mutex_;  ///< guards all that follows
  PhaseTimer timer_;
  std::uint64_t begun_ = 0;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace medfuse::cluster
