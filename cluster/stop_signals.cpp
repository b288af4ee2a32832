#include "cluster/stop_signals.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <stdexcept>

#include "base/error.h"

namespace medfuse::cluster {

namespace {

struct Known {
  const char* name;
  int number;
};
constexpr std::array<Known, 6> known = {
    {{"TERM", SIGTERM}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"INT", SIGINT}, {"HUP", SIGHUP}, {"XCPU", SIGXCPU}}};

constexpr std::int64_t one_request = 500;  ///< milliseconds
constexpr int requests_to_end = 3;

// What the handlers share with the program: lock-free, and so safe in a handler.
std::atomic<int> first_signal{0};
std::atomic<int> term_requests{0};
std::atomic<std::int64_t> last_term{0};  ///< milliseconds of the steady clock
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

void end_now(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  ::raise(signal);  // comes once this handler returns
}

void note(int signal) {
  const int before = errno;
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  if (signal == SIGTERM) {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::int64_t time = static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
    if (term_requests.load() == 0 || time - last_term.load() >= one_request) {
      last_term.store(time);
      if (term_requests.fetch_add(1) + 1 >= requests_to_end) end_now(signal);
    }
  }
  errno = before;
}

}  // namespace

std::vector<int> signal_numbers(const std::vector<std::string>& names) {
  if (names == std::vector<std::string>{"none"}) return {};
  std::vector<int> numbers;
  for (const std::string& name : names) {
    const std::string bare = name.starts_with("SIG") ? name.substr(3) : name;
    const auto* const found = std::find_if(known.begin(), known.end(), [&](const Known& k) { return bare == k.name; });
    if (found == known.end()) {
      std::string all;
      for (const Known& k : known) all += std::string(k.name) + ", ";
      usage_error("stop.signals: '{}' is not known: {}or none alone", name, all);
    }
    if (std::find(numbers.begin(), numbers.end(), found->number) == numbers.end()) numbers.push_back(found->number);
  }
  return numbers;
}

std::string signal_name(int number) {
  for (const Known& k : known) {
    if (k.number == number) return std::string("SIG") + k.name;
  }
  return fmt::format("signal {}", number);
}

StopSignals::StopSignals(const std::vector<int>& signals) {
  if (installed.exchange(true)) throw std::logic_error("StopSignals: there is one already");
  first_signal = 0;
  term_requests = 0;
  for (const int signal : signals) {
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = SA_RESTART;  // reads and writes under way go on
    sigemptyset(&action.sa_mask);
    struct sigaction former {};
    if (::sigaction(signal, &action, &former) != 0) throw std::logic_error("StopSignals: no such signal");
    former_.emplace_back(signal, former);
  }
}

StopSignals::~StopSignals() {
  for (const auto& [signal, former] : former_) ::sigaction(signal, &former, nullptr);
  installed = false;
}

int StopSignals::received() const { return first_signal.load(); }

}  // namespace medfuse::cluster
