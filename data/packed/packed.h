// What a packed data set holds, in memory. Written and read by writer.h and reader.h; the file format is described in
// docs/format-packed.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace medfuse::data {

enum class Split : std::uint8_t { train = 0, validation = 1, test = 2 };

/// "train", "validation" or "test".
const char* split_name(Split split);

/// One hospital admission.
struct Sample {
  std::int64_t admission = 0;          ///< the sample's id in orders, masks and dropout
  std::int64_t patient = 0;
  Split split = Split::train;
  std::vector<std::int32_t> tokens;    ///< never empty; at most text.max_tokens
  std::vector<float> labs;             ///< [labs] min-max scaled; 0 where not observed
  std::vector<std::uint8_t> observed;  ///< [labs] 1 where measured
  std::vector<std::uint8_t> labels;    ///< [diseases] 0 or 1; empty when packed without labels
};

/// One column of the lab vector, with its scaling: scaled = (value - low) / (high - low), fitted on the training split.
struct LabColumn {
  std::int64_t item = 0;
  std::string name;
  std::string unit;
  double low = 0;
  double high = 1;
};

/// What is common to all samples of a packed data set.
struct PackedInfo {
  std::vector<std::string> diseases;
  std::vector<std::vector<std::string>> disease_codes;  ///< [diseases] ICD-9 prefixes without dots
  std::vector<LabColumn> labs;
  bool has_labels = true;
  std::string tokenizer;               ///< folder or file it was read from
  std::string tokenizer_fingerprint;   ///< hex XXH64 of tokenizer.json
  std::int64_t vocabulary = 0;         ///< 1 + the largest id that the tokenizer can give
  std::int64_t max_tokens = 0;
  std::vector<std::string> sections;
  std::vector<std::string> categories;      ///< of notes; empty: every note
  bool abnormal_labs = true;                ///< flagged labs are in the text
  std::vector<std::string> abnormal_flags;
  std::map<std::string, std::string> tables;  ///< tables' and columns' names by option name
  std::string lab_value;               ///< first, last, mean, min or max
  double window_hours = 0;                  ///< 0: the whole admission
  std::int64_t samples = 0;
};

}  // namespace medfuse::data
