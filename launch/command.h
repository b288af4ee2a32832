// A subcommand of medfuse: its name, its options and what it does. main.cpp lists them all.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cluster/process.h"
#include "launch/option_table.h"

namespace medfuse::launch {

class Command {
 public:
  virtual ~Command() = default;
  virtual std::string name() const = 0;
  /// One line for `medfuse --help`.
  virtual std::string summary() const = 0;
  /// The command line in one line, for the top of --help.
  virtual std::string usage() const = 0;
  /// Binds every option; called once, before parsing or printing help.
  virtual void describe(OptionTable& options) = 0;
  /// How long the start of MPI may take, for which all ranks must have been started. Asked behind parsing.
  virtual std::chrono::milliseconds start_limit() const { return cluster::ProcessLimits().start; }
  /// Runs on every rank. Returns the exit code; errors are thrown.
  virtual int run(const OptionTable& options, cluster::Process& process) = 0;
};

std::unique_ptr<Command> pack_command();
std::unique_ptr<Command> train_command();
std::unique_ptr<Command> evaluate_command();
std::unique_ptr<Command> predict_command();
std::unique_ptr<Command> impute_command();
std::unique_ptr<Command> tokenize_command();
std::unique_ptr<Command> embed_command();
std::unique_ptr<Command> checkpoint_command();
std::unique_ptr<Command> export_command();
std::unique_ptr<Command> plan_command();
std::unique_ptr<Command> info_command();

/// Throws Error(usage) naming the option when `value` is empty.
void require(const std::string& value, const std::string& option, const std::string& meaning);

}  // namespace medfuse::launch
