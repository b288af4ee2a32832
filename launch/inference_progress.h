// What a person sees while samples pass through a trained model, the progress line of training without a loss; and what the
// watchdog is told meanwhile.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "launch/patience.h"
#include "src/train/progress.h"

namespace medfuse::launch {

/// For evaluate::InferenceOptions::progress. A rank that `speaks` shows how far it is, which stands for all. `patience` must
/// outlive what is returned; from now on it is about `what`.
inline std::function<void(std::int64_t, std::int64_t)> inference_progress(const std::string& what, bool speaks,
                                                                          Patience& patience) {
  const auto line = speaks ? std::make_shared<train::Progress>() : nullptr;
  auto shown = std::make_shared<std::int64_t>(0);
  patience.enter(train::Part::first_step, what + ": first samples");
  return [line, shown, what, &patience](std::int64_t done, std::int64_t total) {
    patience.enter(train::Part::step, done == total ? what + ": bringing the ranks' results together"
                                                    : fmt::format("{}: behind {} of {} samples", what, done, total));
    if (!line) return;
    if (*shown == 0) line->begin(what, 0, total);
    line->update(done, std::nullopt, done - *shown, 0);
    *shown = done;
    if (done == total) line->finish();
  };
}

}  // namespace medfuse::launch
