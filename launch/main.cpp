// medfuse: finds the subcommand, starts the ranks, and turns every error into one line and its exit code.
#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cluster/launcher.h"
#include "cluster/mpi_reach.h"
#include "cluster/process.h"
#include "cluster/together.h"
#include "launch/command.h"

namespace medfuse::launch {

void require(const std::string& value, const std::string& option, const std::string& meaning) {
  if (value.empty()) usage_error("--{} is missing: {}", option, meaning);
}

namespace {

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(pack_command());
  commands.push_back(train_command());
  commands.push_back(evaluate_command());
  commands.push_back(predict_command());
  commands.push_back(impute_command());
  commands.push_back(tokenize_command());
  commands.push_back(embed_command());
  commands.push_back(checkpoint_command());
  commands.push_back(export_command());
  commands.push_back(plan_command());
  commands.push_back(info_command());
  return commands;
}

std::string overview(const std::vector<std::unique_ptr<Command>>& commands) {
  std::string text =
      "medfuse: distributed training on multimodal electronic health records\n\n"
      "usage: medfuse COMMAND [OPTIONS]      (alone, or under mpirun or srun)\n\n";
  for (const auto& command : commands) text += fmt::format("  {:<12}{}\n", command->name(), command->summary());
  return text + "\n`medfuse COMMAND --help` lists the command's options.\n";
}

bool asks_for_help(const std::vector<std::string>& arguments) {
  for (const auto& argument : arguments) {
    if (argument == "--help" || argument == "-h") return true;
  }
  return false;
}

/// Before MPI runs, only the launcher's variables tell ranks apart.
bool first_of_launch() { return cluster::read_launch().rank == 0; }

/// Processes that MPI does not bring together would each do the whole job, and all write to one folder. One says so.
bool refused(const cluster::Launch& launch, int mpi_size) {
  const std::string conflict = cluster::launch_conflict(launch, mpi_size);
  if (conflict.empty()) return false;
  if (cluster::reports_conflict(launch)) std::fputs(fmt::format("medfuse: {}\n", conflict).c_str(), stderr);
  return true;
}

void print_first(std::FILE* stream, const std::string& text) {
  if (first_of_launch()) std::fputs(text.c_str(), stream);
}

int run(std::vector<std::string> words) {
  const auto commands = all_commands();
  if (words.size() == 2 && words[0] == "help") words = {words[1], "--help"};
  if (words.size() == 1 && words[0] == "--version") {
    print_first(stdout, "medfuse " MEDFUSE_VERSION "\n");
    return static_cast<int>(ExitCode::done);
  }
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_first(words.empty() ? stderr : stdout, overview(commands));
    return static_cast<int>(words.empty() ? ExitCode::usage : ExitCode::done);
  }
  Command* command = nullptr;
  for (const auto& candidate : commands) {
    if (candidate->name() == words[0]) command = candidate.get();
  }
  if (command == nullptr) {
    print_first(stderr, fmt::format("medfuse: no command '{}'; see medfuse --help\n", words[0]));
    return static_cast<int>(ExitCode::usage);
  }
  const std::vector<std::string> arguments(words.begin() + 1, words.end());
  OptionTable options;
  command->describe(options);
  if (asks_for_help(arguments)) {
    print_first(stdout, options.help("usage: " + command->usage()));
    return static_cast<int>(ExitCode::done);
  }
  try {
    options.parse(arguments, OptionTable::peek(arguments, "config"));
  } catch (const Error& error) {
    print_first(stderr, fmt::format("medfuse: {}\n", error.what()));
    return static_cast<int>(error.code());
  }

  const cluster::Launch launch = cluster::read_launch();
  if (cluster::mpi_cannot_reach(launch) && refused(launch, 1)) return static_cast<int>(ExitCode::usage);
  try {
    cluster::Process process(nullptr, nullptr, {.start = command->start_limit()});
    return cluster::run_job(process, [&] {
      if (refused(process.launch(), process.size())) return static_cast<int>(ExitCode::usage);
      return command->run(options, process);
    });
  } catch (const Error& error) {  // MPI did not start
    std::fputs(fmt::format("medfuse: {}\n", error.what()).c_str(), stderr);
    return static_cast<int>(error.code());
  }
}

}  // namespace
}  // namespace medfuse::launch

int main(int argc, char** argv) { return medfuse::launch::run({argv + 1, argv + argc}); }
