// EHR tables -> packed data set: the work of `medfuse pack`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/cohort/options.h"
#include "data/cohort/summary.h"
#include "data/cohort/team.h"

namespace medfuse::data {

class Tokenizer;

/// Turns the text of a sample into tokens, and says which tokenizer that is.
struct TextEncoder {
  /// Ids of a text; with `special` the tokenizer's own additions (such as a token for the beginning). No truncation.
  std::function<std::vector<std::int32_t>(std::string_view text, bool special)> encode;
  std::string path;                ///< where the tokenizer was read from
  std::string fingerprint;         ///< hex XXH64 of tokenizer.json
  std::int64_t vocabulary = 0;     ///< 1 + the largest id
};
TextEncoder text_encoder(const Tokenizer& tokenizer, const std::string& path);

/// What packing says while it works. Called on the first member of the team only; lines never hold a patient's text.
struct PackReporter {
  std::function<void(const std::string& line)> log = [](const std::string&) {};
  /// Data rows read so far of a table, about once a second's worth of rows.
  std::function<void(const std::string& table, std::uint64_t rows)> progress = [](const std::string&, std::uint64_t) {};
};

/// Packs `options.input` into `options.output`; all members of the team call it. Files do not depend on the team's
/// size. Memory grows with the admissions (their sections, and one value per admission and lab item), not with the rows
/// of the lab table. An earlier data set in the output folder is replaced. The summary is the same on every member.
/// Throws Error(usage) for options, Error(data) naming file, row or column, and remedy for tables.
PackSummary pack(const PackOptions& options, const TextEncoder& encoder, const Team& team = {},
                 const PackReporter& reporter = {});

}  // namespace medfuse::data
