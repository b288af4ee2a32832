// The one Process of a test program; its MPI was started by mpi_main.cpp, which also ends it.
#pragma once

#include "cluster/process.h"

namespace medfuse::cluster {

inline Process& test_process() {
  static Process* process = new Process;
  return *process;
}

}  // namespace medfuse::cluster
