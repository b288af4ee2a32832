#include "cluster/launcher.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace medfuse::cluster {

namespace {

/// Steps above are none that srun started: the batch script, an interactive shell, a prolog's container.
constexpr std::int64_t last_step_of_srun = 0xfffffff0;

std::optional<std::int64_t> number(const Variables& variable, const char* name) {
  const char* text = variable(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view digits = text;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<int> count(const Variables& variable, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto value = number(variable, name);
    if (value && *value <= std::numeric_limits<int>::max()) return static_cast<int>(*value);
  }
  return std::nullopt;
}

bool in_step_of_srun(const Variables& variable) {
  auto step = number(variable, "SLURM_STEP_ID");
  if (!step) step = number(variable, "SLURM_STEPID");
  return step && *step <= last_step_of_srun;
}

std::optional<Launch> by_slurm(const Variables& variable) {
  if (!in_step_of_srun(variable)) return std::nullopt;
  const auto rank = count(variable, {"SLURM_PROCID"});
  const auto size = count(variable, {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"});
  if (!rank || !size) return std::nullopt;
  return Launch{Launcher::slurm, *rank, *size};
}

/// PMIx has no variable for the number of ranks. Where Slurm runs the PMIx server, the step's is it; a server that was
/// itself started within a step has other ranks than that.
Launch by_pmix(const Variables& variable, int rank) {
  const char* space = variable("PMIX_NAMESPACE");
  const bool server_is_slurm = space != nullptr && std::string_view(space).starts_with("slurm.");
  const auto slurm = server_is_slurm ? by_slurm(variable) : std::nullopt;
  return {Launcher::pmix, rank, slurm ? slurm->size : 0};
}

}  // namespace

Launch read_launch(const Variables& variable) {
  const auto mpi_rank = count(variable, {"OMPI_COMM_WORLD_RANK"});
  const auto mpi_size = count(variable, {"OMPI_COMM_WORLD_SIZE"});
  if (mpi_rank && mpi_size) return {Launcher::open_mpi, *mpi_rank, *mpi_size};
  if (const auto rank = count(variable, {"PMIX_RANK"})) return by_pmix(variable, *rank);
  const auto pmi_rank = count(variable, {"PMI_RANK"});
  const auto pmi_size = count(variable, {"PMI_SIZE"});
  if (pmi_rank && pmi_size) return {Launcher::pmi, *pmi_rank, *pmi_size};
  return by_slurm(variable).value_or(Launch{});
}

std::string launcher_name(Launcher launcher) {
  switch (launcher) {
    case Launcher::open_mpi: return "Open MPI (mpirun)";
    case Launcher::pmix: return "PMIx (srun --mpi=pmix or the like)";
    case Launcher::pmi: return "PMI (mpiexec or srun --mpi=pmi2)";
    case Launcher::slurm: return "Slurm (srun)";
    case Launcher::nobody: break;
  }
  return "nobody";
}

std::string launch_line(const Launch& launch, int size) {
  if (launch.launcher == Launcher::nobody) return fmt::format("ranks: {}, started without a launcher", size);
  return fmt::format("ranks: {}, started by {}", size, launcher_name(launch.launcher));
}

std::string launch_conflict(const Launch& launch, int mpi_size) {
  // More than promised is no fault: the parts of a heterogeneous Slurm job are one world, and each counts itself.
  if (launch.size <= mpi_size && launch.rank < mpi_size) return {};
  const std::string started = launch.size > 0 ? fmt::format("{} processes", launch.size) : "several processes";
  const char* remedy = launch.launcher == Launcher::open_mpi
                           ? "use the mpirun of the Open MPI that medfuse was built with"
                           : "use srun --mpi=pmix (srun --mpi=list tells whether it is there) or mpirun";
  return fmt::format("{} started {}, of which MPI sees {}: each would do the whole job; {}", launcher_name(launch.launcher),
                     started, mpi_size == 1 ? "one alone" : fmt::format("{} together", mpi_size), remedy);
}

bool reports_conflict(const Launch& launch) { return launch.rank == (launch.size > 0 ? 0 : 1); }

}  // namespace medfuse::cluster
