// Starts a program as a job of several ranks and says how it ended.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace medfuse::cluster {

struct Ending {
  int code = -1;
  std::string lines;  ///< ours only, not the launcher's remarks
};

/// This node's name.
inline std::string host() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

inline Ending run_command(const std::string& command) {
  Ending ending;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char line[4096];
  while (std::fgets(line, sizeof(line), pipe)) {
    if (std::string(line).starts_with("medfuse: ")) ending.lines += line;
  }
  const int status = pclose(pipe);
  ending.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ending;
}

inline Ending run_job(int ranks, const std::string& program, const std::string& launcher_options = "") {
  return run_command("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe --bind-to none " +
                     launcher_options + " -np " + std::to_string(ranks) + " " + program);
}

}  // namespace medfuse::cluster
