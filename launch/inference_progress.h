// What a person sees while samples pass through a trained model: the progress line of training, without a loss.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "src/train/progress.h"

namespace medfuse::launch {

/// For evaluate::InferenceOptions::progress: shows how far this rank is, which stands for all. Nothing on other ranks.
inline std::function<void(std::int64_t, std::int64_t)> inference_progress(const std::string& what, bool speaks) {
  if (!speaks) return {};
  const auto line = std::make_shared<train::Progress>();
  auto shown = std::make_shared<std::int64_t>(0);
  return [line, shown, what](std::int64_t done, std::int64_t total) {
    if (*shown == 0) line->begin(what, 0, total);
    line->update(done, std::nullopt, done - *shown, 0);
    *shown = done;
    if (done == total) line->finish();
  };
}

}  // namespace medfuse::launch
