#include "cluster/mpi_calls.h"

#include <string_view>

#include "base/error.h"

namespace medfuse::cluster {

std::string mpi_error_text(int status) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS) return fmt::format("MPI error {}", status);
  return std::string(text, static_cast<std::size_t>(length));
}

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  const std::string_view text(call);
  communication_error("{} failed: {}; a peer may be gone, run the command again", text.substr(0, text.find('(')),
                      mpi_error_text(status));
}

}  // namespace medfuse::cluster
