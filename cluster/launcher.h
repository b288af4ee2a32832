// Who started this process, read off the environment before MPI runs: which launcher, and the rank and the number of ranks
// that it promises. MPI itself may see less: started by a launcher that it cannot talk to, each process believes to be
// rank 0 of 1, and all of them would do the whole job.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>

namespace medfuse::cluster {

enum class Launcher { nobody, open_mpi, pmix, pmi, slurm };

struct Launch {
  Launcher launcher = Launcher::nobody;
  int rank = 0;
  int size = 1;  ///< 0: the launcher does not say
};

/// Looks up a variable of the environment; null where it is not set.
using Variables = std::function<const char*(const char* name)>;

/// The first that claims this process: Open MPI's mpirun, PMIx, PMI, then Slurm. Slurm counts only within a step that srun
/// started: a batch script's variables speak of the job, whose tasks nobody has started yet. To be called before MPI
/// starts, which may set variables itself.
Launch read_launch(const Variables& variable = [](const char* name) -> const char* { return std::getenv(name); });

/// "Open MPI (mpirun)", "Slurm (srun)".
std::string launcher_name(Launcher launcher);

/// "ranks: 4, started by Open MPI (mpirun)".
std::string launch_line(const Launch& launch, int size);

/// Empty if MPI's world of `mpi_size` ranks can be what the launcher started. Otherwise the processes do not know of each
/// other: what is wrong and what to use.
std::string launch_conflict(const Launch& launch, int mpi_size);

/// Whether this is the one process that reports a conflict.
bool reports_conflict(const Launch& launch);

}  // namespace medfuse::cluster
