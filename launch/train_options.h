// The options of `medfuse train`: names, defaults and help of every field of train::TrainOptions.
#pragma once

#include <string>

#include "launch/option_table.h"
#include "src/train/options.h"

namespace medfuse::launch {

void add_train_options(OptionTable& table, train::TrainOptions& options);

/// The resolved configuration of a run, back from DIR/config.cfg. Throws Error(data) when DIR is no run.
train::TrainOptions read_run_options(const std::string& run);

/// Values that no single option's type can rule out. Throws Error(usage) naming the key and the values that work.
void check(const train::TrainOptions& options);
/// The same without the data: for a run that is only planned.
void check_settings(const train::TrainOptions& options);

}  // namespace medfuse::launch
