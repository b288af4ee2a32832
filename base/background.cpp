#include "base/background.h"

#include <utility>

#include "base/without_signals.h"

namespace medfuse {

std::future<std::string> in_background(std::function<std::string()> work) {
  const WithoutSignals inherited;
  return std::async(std::launch::async, std::move(work));
}

}  // namespace medfuse
