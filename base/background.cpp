#include "base/background.h"

#include <signal.h>

#include <utility>

namespace medfuse {

namespace {

/// While it lives, this thread takes no signals, nor do those that it starts: signals are the business of others.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::future<std::string> in_background(std::function<std::string()> work) {
  const WithoutSignals inherited;
  return std::async(std::launch::async, std::move(work));
}

}  // namespace medfuse
