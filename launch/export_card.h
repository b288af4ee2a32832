// README.md of an exported folder: what it is, where it comes from, how to load it, and what it lacks.
#pragma once

#include <cstdint>
#include <string>

#include "src/weights/adapted_encoder.h"

namespace medfuse::launch {

/// What of a trained model an export leaves out; for --help and the card.
inline constexpr const char* kExportLacks =
    "The disease heads, the lab transformer and the fusion are not in it: predictions need `medfuse predict`.";

/// `run`: name of the run folder; `step`: of the checkpoint; `unfinished`: where in the training that is, empty at its
/// end; `merged`: whether the adapters are in the weights.
std::string export_card(const weights::AdaptedEncoder& encoder, const std::string& run, std::int64_t step,
                        const std::string& unfinished, bool merged);

}  // namespace medfuse::launch
