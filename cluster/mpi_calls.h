// <mpi.h> without the removed C++ bindings, and the one check that every MPI call goes through.
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <string>

namespace medfuse::cluster {

/// Throws Error(communication) naming the call and MPI's own words, unless `status` is MPI_SUCCESS.
void check_mpi(int status, const char* call);

/// MPI's text for an error status.
std::string mpi_error_text(int status);

}  // namespace medfuse::cluster

/// Runs one MPI call; a failure becomes Error(communication).
#define MEDFUSE_MPI(call) ::medfuse::cluster::check_mpi((call), #call)
