// main() for tests started by mpirun: every rank runs every test. Rank 0 prints as usual; the other ranks keep their
// failures and rank 0 prints them at the end in rank order. One failing rank makes all ranks exit with 1.
#define OMPI_SKIP_MPICXX 1
#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

/// Keeps what failed on this rank, each with its place and test.
class FailureCollector : public testing::EmptyTestEventListener {
 public:
  explicit FailureCollector(std::string& text) : text_(text) {}

  void OnTestStart(const testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + "." + test.name() + ": ";
  }

  // GoogleTest holds its lock here: asking it for the current test would wait for ever.
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    text_ += test_;
    if (result.file_name()) text_ += std::string(result.file_name()) + ":" + std::to_string(result.line_number()) + ": ";
    text_ += std::string(result.message()) + "\n";
  }

 private:
  std::string& text_;
  std::string test_;
};

/// Meets the other ranks, but does not wait for ever: a rank stuck in a test would hide why another one failed.
bool meet(std::chrono::seconds patience) {
  MPI_Request request;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (int done = 0; std::chrono::steady_clock::now() < deadline;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return true;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return false;
}

void print_in_rank_order(const std::string& own, int rank, int size) {
  const int length = static_cast<int>(own.size());
  std::vector<int> lengths(size), offsets(size);
  MPI_Gather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, 0, MPI_COMM_WORLD);
  for (int r = 1; r < size; ++r) offsets[r] = offsets[r - 1] + lengths[r - 1];
  std::string all(rank == 0 ? offsets[size - 1] + lengths[size - 1] : 0, ' ');
  MPI_Gatherv(own.data(), length, MPI_CHAR, all.data(), lengths.data(), offsets.data(), MPI_CHAR, 0, MPI_COMM_WORLD);
  if (rank != 0) return;
  for (int r = 0; r < size; ++r) {
    if (lengths[r] > 0) std::printf("--- failures on rank %d\n%.*s", r, lengths[r], all.data() + offsets[r]);
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (!std::getenv("OMPI_COMM_WORLD_SIZE") && !std::getenv("PMIX_RANK")) setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);

  testing::InitGoogleTest(&argc, argv);
  std::string failures;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    delete listeners.Release(listeners.default_xml_generator());
    listeners.Append(new FailureCollector(failures));
  }
  int failed = provided == MPI_THREAD_MULTIPLE ? RUN_ALL_TESTS() : 1;
  if (provided != MPI_THREAD_MULTIPLE) failures += "this MPI does not provide MPI_THREAD_MULTIPLE\n";

  if (!meet(std::chrono::seconds(60))) {
    std::printf("--- rank %d finished its tests, but another rank did not within 60 s\n%s", rank, failures.c_str());
    std::fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  print_in_rank_order(failures, rank, size);
  int any = 0;
  MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any ? 1 : 0;
}
