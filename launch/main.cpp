// medfuse: finds the subcommand, starts the ranks, and turns every error into one line and its exit code.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
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

/// Processes that do not know of each other cannot wait for the one that speaks; when one leaves, launchers end the rest.
constexpr auto start_of_the_slowest = std::chrono::seconds(2);

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
void print_first(const std::string& text) {
  if (cluster::read_launch().rank == 0) std::fputs(text.c_str(), stdout);
}

/// Processes that MPI does not bring together would each do the whole job, and all write to one folder. One says so.
bool refused(const cluster::Launch& launch, int mpi_size) {
  const std::string conflict = cluster::launch_conflict(launch, mpi_size);
  if (conflict.empty()) return false;
  if (cluster::reports_conflict(launch)) std::fputs(fmt::format("medfuse: {}\n", conflict).c_str(), stderr);
  std::this_thread::sleep_for(start_of_the_slowest);
  return true;
}

Command& find(const std::vector<std::unique_ptr<Command>>& commands, const std::vector<std::string>& words) {
  if (words.empty()) usage_error("a command is missing; see medfuse --help");
  for (const auto& command : commands) {
    if (command->name() == words[0]) return *command;
  }
  usage_error("no command '{}'; see medfuse --help", words[0]);
}

/// The line of `text` that this place is in.
std::string line_at(const std::string& text, std::size_t place) {
  const std::size_t begin = place == 0 ? 0 : text.rfind('\n', place - 1) + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

/// Ranks with other settings, from a configuration that is older on one node say, would train pieces of two models.
/// Collective. Throws Error(usage) on ranks whose settings are not those of rank 0.
void require_same_settings(cluster::Process& process, const Command& command, const OptionTable& options) {
  const std::string mine = fmt::format("medfuse {}\n{}", command.name(), options.values());
  const std::string of_first = process.broadcast(mine);
  cluster::together(process, [&] {
    if (mine == of_first) return;
    const auto place = std::mismatch(mine.begin(), mine.end(), of_first.begin(), of_first.end()).first - mine.begin();
    usage_error("rank {} on {} was started with other settings than rank 0 on {}: {}, there {}; give all ranks the same",
                process.rank(), process.host(), process.hosts().front(), line_at(mine, place), line_at(of_first, place));
  });
}

int run(std::vector<std::string> words) {
  const auto commands = all_commands();
  if (words.size() == 2 && words[0] == "help") words = {words[1], "--help"};
  if (words.size() == 1 && words[0] == "--version") {
    print_first("medfuse " MEDFUSE_VERSION "\n");
    return static_cast<int>(ExitCode::done);
  }
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h" || words[0] == "help")) {
    print_first(overview(commands));
    return static_cast<int>(ExitCode::done);
  }
  OptionTable options;
  Command* command = nullptr;
  // Told once MPI runs, like any error: had a rank left before, the launcher would end the one that tells it, and what is
  // wrong on one node alone nobody would tell.
  std::exception_ptr mistake;
  auto start_limit = cluster::ProcessLimits().start;
  try {
    command = &find(commands, words);
    command->describe(options);
    const std::vector<std::string> arguments(words.begin() + 1, words.end());
    if (asks_for_help(arguments)) {
      print_first(options.help("usage: " + command->usage()));
      return static_cast<int>(ExitCode::done);
    }
    options.parse(arguments, OptionTable::peek(arguments, "config"));
    start_limit = command->start_limit();
  } catch (...) {
    mistake = std::current_exception();
  }

  const cluster::Launch launch = cluster::read_launch();
  if (cluster::mpi_cannot_reach(launch) && refused(launch, 1)) return static_cast<int>(ExitCode::usage);
  try {
    cluster::Process process(nullptr, nullptr, {.start = start_limit});
    return cluster::run_job(process, [&] {
      if (refused(process.launch(), process.size())) return static_cast<int>(ExitCode::usage);
      cluster::together(process, [&] {
        if (mistake) std::rethrow_exception(mistake);
      });
      require_same_settings(process, *command, options);
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
