#include "cluster/mpi_reach.h"

#include <cstdlib>
#include <string>

#include "cluster/mpi_calls.h"

namespace medfuse::cluster {

namespace {

/// Open MPI's ways to a launcher are components named pmix_...; each has variables of its own, which MPI's tools interface
/// lists. s1 and s2 speak Slurm's PMI, cray that of Cray.
struct Ways {
  bool any = false;
  bool without_pmix = false;
};

Ways ways_of_mpi() {
  Ways ways;
  int provided = 0, count = 0;
  if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) return ways;
  if (MPI_T_cvar_get_num(&count) != MPI_SUCCESS) count = 0;
  for (int i = 0; i < count; ++i) {
    char text[256];
    int length = sizeof(text), no_description = 0, verbosity = 0, binding = 0, scope = 0;
    MPI_Datatype type = MPI_DATATYPE_NULL;
    MPI_T_enum values = MPI_T_ENUM_NULL;
    if (MPI_T_cvar_get_info(i, text, &length, &verbosity, &type, &values, nullptr, &no_description, &binding, &scope) !=
        MPI_SUCCESS) {
      continue;
    }
    const std::string name = text;
    if (!name.starts_with("pmix_") || !name.ends_with("_major_version")) continue;
    ways.any = true;
    for (const char* component : {"pmix_s1_", "pmix_s2_", "pmix_cray_"}) {
      ways.without_pmix = ways.without_pmix || name.starts_with(component);
    }
  }
  MPI_T_finalize();
  return ways;
}

}  // namespace

bool mpi_cannot_reach(const Launch& launch) {
  if (launch.launcher != Launcher::slurm && launch.launcher != Launcher::pmi) return false;
  const Ways ways = ways_of_mpi();
  return ways.any && !ways.without_pmix;
}

void prepare_lone_start(const Launch& launch) {
  if (launch.launcher != Launcher::nobody && !mpi_cannot_reach(launch)) return;
  // Open MPI would look for a runtime to attach to, refuse root, and within a step of srun insist on its PMI.
  setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  unsetenv("SLURM_STEP_ID");
}

}  // namespace medfuse::cluster
