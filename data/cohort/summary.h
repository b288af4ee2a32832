// What packing found: counts for the log and for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/packed/packed.h"

namespace medfuse::data {

/// Rows of one table.
struct TableCount {
  std::string file;
  std::uint64_t rows = 0;
  std::uint64_t without_admission = 0;  ///< no admission id: out-patients, normal
  std::uint64_t without_value = 0;      ///< labs: no number; diagnoses: no code; notes: withdrawn. Normal
  std::uint64_t bad = 0;                ///< skipped, and reported in the log
};

struct PackSummary {
  PackedInfo info;
  std::vector<TableCount> tables;
  std::int64_t admissions = 0;
  std::int64_t left_out = 0;                    ///< admissions with neither text nor an observed lab
  std::int64_t samples[3] = {0, 0, 0};          ///< [Split]
  std::vector<std::int64_t> positives[3];       ///< [Split][diseases]
  std::int64_t undiagnosed = 0;                 ///< samples without a row in the diagnoses table: all labels 0
  std::int64_t with_notes = 0;                  ///< samples with at least one chosen section
  std::int64_t truncated = 0;                   ///< samples whose text was longer than max_tokens
  std::int64_t tokens = 0;                      ///< over all samples
  std::int64_t longest = 0;                     ///< tokens of the longest sample
  std::int64_t observed = 0;                    ///< observed cells of the lab matrix
  std::int64_t shards = 0;
};

/// Lines for the log.
std::vector<std::string> format_summary(const PackSummary& summary);

}  // namespace medfuse::data
