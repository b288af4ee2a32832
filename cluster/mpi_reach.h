// Whether MPI has a way to the launcher that started this process, before MPI starts: without one Open MPI 4 fills the
// screen from every process and ends them all with code 1.
#pragma once

#include "cluster/launcher.h"

namespace medfuse::cluster {

/// True only for a certainty: srun started this without PMIx, and this Open MPI has PMIx alone. MPI would then see this
/// process alone. To be called before MPI starts.
bool mpi_cannot_reach(const Launch& launch);

/// Lets MPI start as a world of one rank where nobody has started it, or nobody whom it can reach.
void prepare_lone_start(const Launch& launch);

}  // namespace medfuse::cluster
