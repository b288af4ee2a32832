// Who started a process, from environments as launchers make them (taken from Open MPI 4.1 and Slurm 22.05).
#include "cluster/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace medfuse::cluster {
namespace {

using testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

Launch read(const Environment& environment) {
  return read_launch([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

Environment with(Environment environment, const Environment& more) {
  for (const auto& [name, value] : more) environment[name] = value;
  return environment;
}

void expect(const Environment& environment, Launcher launcher, int rank, int size) {
  const Launch launch = read(environment);
  EXPECT_EQ(launcher_name(launch.launcher), launcher_name(launcher));
  EXPECT_EQ(launch.rank, rank);
  EXPECT_EQ(launch.size, size);
}

const Environment mpirun = {{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "2"},
                            {"PMIX_NAMESPACE", "1296171009"}};
/// What a batch script sees: its own task is the script, SLURM_NTASKS the job's.
const Environment batch = {{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "8"}, {"SLURM_NPROCS", "8"}, {"SLURM_PROCID", "0"},
                           {"SLURM_LOCALID", "0"}, {"SLURM_NODEID", "0"}};
const Environment step = {{"SLURM_JOB_ID", "77"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "3"}};

TEST(Launcher, Nobody) {
  expect({}, Launcher::nobody, 0, 1);
  EXPECT_EQ(launch_conflict(read({}), 1), "");
  EXPECT_EQ(launch_line(read({}), 1), "ranks: 1, started without a launcher");
}

TEST(Launcher, OpenMpiWinsOverWhatItRunsIn) {
  expect(mpirun, Launcher::open_mpi, 2, 4);
  expect(with(batch, mpirun), Launcher::open_mpi, 2, 4);
  // On other nodes mpirun's daemons are tasks of a step.
  expect(with(with(step, {{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_PROCID", "1"}}), mpirun), Launcher::open_mpi, 2, 4);
  EXPECT_EQ(launch_conflict(read(with(batch, mpirun)), 4), "");
  EXPECT_EQ(launch_line(read(mpirun), 4), "ranks: 4, started by Open MPI (mpirun)");
}

TEST(Launcher, PmixOfSlurmCountsTheStepsTasks) {
  const Environment pmix = with(step, {{"PMIX_RANK", "3"}, {"PMIX_NAMESPACE", "slurm.pmix.77.0"}});
  expect(pmix, Launcher::pmix, 3, 4);
  EXPECT_EQ(launch_conflict(read(pmix), 4), "");
  EXPECT_THAT(launch_line(read(pmix), 4), HasSubstr("ranks: 4, started by PMIx"));
}

TEST(Launcher, PmixOfAnotherServerDoesNotSayHowManyThereAre) {
  expect({{"PMIX_RANK", "1"}, {"PMIX_NAMESPACE", "prterun-node-1@1"}}, Launcher::pmix, 1, 0);
  // Its daemons are tasks of a step, the ranks are not.
  expect(with(step, {{"PMIX_RANK", "9"}, {"PMIX_NAMESPACE", "prterun-node-1@1"}}), Launcher::pmix, 9, 0);
}

TEST(Launcher, Pmi) {
  expect({{"PMI_RANK", "1"}, {"PMI_SIZE", "3"}}, Launcher::pmi, 1, 3);
  expect(with(step, {{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"PMI_FD", "9"}}), Launcher::pmi, 3, 4);
  expect({{"PMI_RANK", "1"}}, Launcher::nobody, 0, 1);
}

TEST(Launcher, SlurmCountsOnlyWithinAStepOfSrun) {
  expect(step, Launcher::slurm, 3, 4);
  expect(batch, Launcher::nobody, 0, 1);
  for (const char* none : {"4294967291", "4294967290", "4294967292"}) {  // batch script, interactive shell, extern
    expect(with(batch, {{"SLURM_STEP_ID", none}}), Launcher::nobody, 0, 1);
  }
  // A shell in an allocation.
  expect({{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "8"}}, Launcher::nobody, 0, 1);
}

TEST(Launcher, AShellOfSrunIsAWorldOfOne) {
  const Environment shell = with(step, {{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}});
  expect(shell, Launcher::slurm, 0, 1);
  EXPECT_EQ(launch_conflict(read(shell), 1), "");
}

TEST(Launcher, ValuesThatAreNoNumbersAreNotThere) {
  for (const char* value : {"", "x", "2x", "-1", "99999999999999999999", " 2"}) {
    expect(with(mpirun, {{"OMPI_COMM_WORLD_RANK", value}, {"PMIX_RANK", value}}), Launcher::nobody, 0, 1);
  }
}

TEST(Launcher, ProcessesThatMpiSeesAloneAreRefusedByOneOfThem) {
  for (const Environment& environment : {step, with(step, {{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}})}) {
    const Launch launch = read(environment);
    EXPECT_THAT(launch_conflict(launch, 1),
                testing::AllOf(HasSubstr("started 4 processes"), HasSubstr("srun --mpi=pmix"), HasSubstr("mpirun")));
    EXPECT_FALSE(reports_conflict(launch));
  }
  const Launch first = read(with(step, {{"SLURM_PROCID", "0"}}));
  EXPECT_NE(launch_conflict(first, 1), "");
  EXPECT_TRUE(reports_conflict(first));
  EXPECT_THAT(launch_conflict(read(mpirun), 2), HasSubstr("2 together"));
}

TEST(Launcher, AnUnknownSizeIsNoticedByTheSecondProcess) {
  const Environment prte = {{"PMIX_RANK", "1"}, {"PMIX_NAMESPACE", "prterun-node-1@1"}};
  EXPECT_NE(launch_conflict(read(prte), 1), "");
  EXPECT_TRUE(reports_conflict(read(prte)));
  EXPECT_EQ(launch_conflict(read(with(prte, {{"PMIX_RANK", "0"}})), 1), "");
  EXPECT_FALSE(reports_conflict(read(with(prte, {{"PMIX_RANK", "2"}}))));
  EXPECT_EQ(launch_conflict(read(prte), 4), "");
}

TEST(Launcher, PartsOfAHeterogeneousJobAreOneWorld) {
  EXPECT_EQ(launch_conflict(read(step), 12), "");
}

}  // namespace
}  // namespace medfuse::cluster
