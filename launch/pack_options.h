// The options of `medfuse pack`: names, defaults and help of every field of data::PackOptions.
#pragma once

#include <string>

#include "data/cohort/options.h"
#include "launch/option_table.h"

namespace medfuse::launch {

struct PackSettings {
  data::PackOptions pack;
  std::string model;      ///< Hugging Face folder whose tokenizer.json is used
  std::string tokenizer;  ///< another tokenizer.json or its folder
};

/// The options that a configuration file may hold; --input and --output are the command's own.
void add_pack_options(OptionTable& table, PackSettings& settings);

}  // namespace medfuse::launch
