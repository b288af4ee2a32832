// A small packed data set for the fuzz targets that damage one of its files.
#pragma once

#include "data/packed/info_json.h"
#include "data/packed/writer.h"
#include "tests/fuzz/input.h"

namespace medfuse::fuzz {

/// Two samples in one shard, written into folder(); its index.json is left to the caller.
inline data::PackedIndex write_packed_sample() {
  data::PackedIndex index;
  index.info.diseases = {"a", "b"};
  index.info.disease_codes = {{"1"}, {"2", "3"}};
  index.info.labs = {{7, "Lactate", "mmol/L", 0.1, 12.3}, {8, "x", "", 0, 1}};
  index.info.tokenizer_fingerprint = "0123456789abcdef";
  index.info.vocabulary = 100;
  index.info.max_tokens = 9;
  index.info.lab_value = "last";
  index.info.samples = 2;
  const data::Sample samples[] = {{100, 50, data::Split::train, {1, 2, 3}, {0.5f, 0}, {1, 0}, {1, 0}},
                                  {101, 51, data::Split::test, {4}, {0, 1}, {0, 1}, {0, 0}}};
  index.shards = {data::write_shard(folder().path(), 0, index.info, samples)};
  return index;
}

}  // namespace medfuse::fuzz
