// What ranks exchange that share instead of keeping it each (parallel.zero) is all needed: whichever exchange is left out,
// the measure that holds such runs against the one-rank run notices it.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "cluster/wrapped_communicator.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// Exchanges of one kind, numbered in the order in which they begin.
struct Exchanges {
  std::int64_t forgotten = -1;
  std::int64_t seen = 0;
  bool forget() { return seen++ == forgotten; }
};

/// Undoes what a collective has done. Not before it is waited for: ranks without a sample begin it at another time.
class Undone : public cluster::Work {
 public:
  Undone(std::unique_ptr<cluster::Work> work, std::function<void()> undo)
      : work_(std::move(work)), undo_(std::move(undo)) {}
  void wait() override {
    work_->wait();
    undo_();
  }

 private:
  std::unique_ptr<cluster::Work> work_;
  std::function<void()> undo_;
};

/// Numbers reduce-scatters and all-gathers, and those of groups split off from it, in which weights are gathered; of the
/// forgotten one a rank gets its own part alone.
class Forgetful : public cluster::WrappedCommunicator {
 public:
  Forgetful(cluster::Communicator& inner, Exchanges& own, Exchanges& of_weights)
      : WrappedCommunicator(inner), own_(own), of_weights_(of_weights) {}
  Forgetful(std::unique_ptr<cluster::Communicator> inner, Exchanges& own, Exchanges& of_weights)
      : Forgetful(*inner, own, of_weights) {
    kept_ = std::move(inner);
  }

  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    auto work = WrappedCommunicator::all_gather(output, input);
    if (!own_.forget()) return work;
    return std::make_unique<Undone>(std::move(work), [this, output, input] {
      output.zero_();
      output.view({size(), -1})[rank()].copy_(input.view(-1));
    });
  }
  std::unique_ptr<cluster::Work> reduce_scatter(const at::Tensor& output, const at::Tensor& input,
                                                cluster::Reduction reduction) override {
    auto work = WrappedCommunicator::reduce_scatter(output, input, reduction);
    if (!own_.forget()) return work;
    return std::make_unique<Undone>(std::move(work), [this, output, input] {
      output.copy_(input.view({size(), -1})[rank()]);
    });
  }
  std::unique_ptr<cluster::Communicator> split(int colour, int order) override {
    return std::make_unique<Forgetful>(WrappedCommunicator::split(colour, order), of_weights_, of_weights_);
  }

 private:
  Exchanges& own_;
  Exchanges& of_weights_;
  std::unique_ptr<cluster::Communicator> kept_;
};

class ForgottenTest : public testing::Test {
 protected:
  void SetUp() override {
    static cluster::Process process;
    world_ = cluster::make_mpi_communicator(process);
    if (world_->size() == 1) GTEST_SKIP() << "nothing is shared on one rank";
    world_->set_timeout(std::chrono::seconds(30));  // a rank that gave up shall not hold the others for long
    alone_ = world_->split(world_->rank(), 0);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process.broadcast(folder_.path().string());
  }
  void TearDown() override { world_->barrier(); }

  /// One bucket, in the fusion stage two (src/parallel/bucket_size.h), beside what is a part of a unit.
  static TrainOptions options(std::int64_t zero) {
    auto o = tiny::options("f64");
    o.parallel.zero = zero;
    o.parallel.bucket_mib = 32;
    o.clip = 1e-2;  // always at work
    return o;
  }

  void make_oracle(const TrainOptions& o) {
    expected_ = tiny::train(o, *reader_, {*alone_, *alone_}, folder_.path() / "alone").parameters;
  }
  /// How far a run gets from the one-rank run without an exchange of gradients and parameters, or one of weights.
  double distance_without(const TrainOptions& o, std::int64_t forgotten, std::int64_t forgotten_of_weights = -1) {
    own_ = {.forgotten = forgotten};
    of_weights_ = {.forgotten = forgotten_of_weights};
    Forgetful forgetful(*world_, own_, of_weights_);
    const auto run = tiny::train(o, *reader_, {*world_, forgetful}, shared_ / ("run" + std::to_string(runs_++)));
    return tiny::distance(run.parameters, expected_, o).first;
  }

  static std::vector<std::int64_t> range(std::int64_t begin, std::int64_t count) {
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), begin);
    return numbers;
  }

  tiny::TempFolder folder_;
  std::filesystem::path shared_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  tiny::Parameters expected_;
  Exchanges own_, of_weights_;
  int runs_ = 0;
};

TEST_F(ForgottenTest, StatesAreShared) {
  const auto o = options(1);
  make_oracle(o);
  EXPECT_LE(distance_without(o, -1), 1e-10);
  // 10 steps of two optimisers, then 10 of two again, each with gradients, norm, parameters. All those of the first steps,
  // and some of a late one, but the norm of the estimator (61), which is not clipped by it.
  ASSERT_EQ(own_.seen, 10 * 6 + 10 * 7);
  for (const std::int64_t forgotten : {0, 1, 2, 3, 4, 5, 60, 62, 63, 64, 65, 66, 118, 121}) {
    EXPECT_GT(distance_without(o, forgotten), 1e-7) << forgotten;
  }
}

TEST_F(ForgottenTest, GradientsOfEachMicroBatchAreReduced) {
  auto o = options(2);
  make_oracle(o);
  o.micro_batch = 1;
  const std::int64_t passes = (o.batch + world_->size() - 1) / world_->size();
  ASSERT_GT(passes, 1);
  EXPECT_LE(distance_without(o, -1), 1e-10);
  // The labs and the estimator make one pass, text and fusion some; each has a norm and parameters.
  const std::int64_t encoders = passes + 5, fusion = 2 * passes + 5;
  ASSERT_EQ(own_.seen, 10 * (encoders + fusion));
  auto tried = range(0, passes);  // of the text, and in a late step
  for (const std::int64_t one : range(10 * encoders + 5 * fusion + 3, 2 * passes)) tried.push_back(one);
  for (const std::int64_t forgotten : tried) EXPECT_GT(distance_without(o, forgotten), 1e-7) << forgotten;
}

TEST_F(ForgottenTest, GradientsOfEachUnitAreReduced) {
  auto o = options(3);
  make_oracle(o);
  o.micro_batch = 1;
  const std::int64_t passes = (o.batch + world_->size() - 1) / world_->size();
  EXPECT_LE(distance_without(o, -1), 1e-10);
  // As before, but a pass of the text also reduces the adapters' gradients of its two blocks.
  const std::int64_t encoders = 3 * passes + 5, fusion = 4 * passes + 5;
  ASSERT_EQ(own_.seen, 10 * (encoders + fusion));
  for (const std::int64_t pass : {std::int64_t{0}, passes - 1}) {
    auto tried = range(3 * pass, 3);
    for (const std::int64_t one : range(10 * encoders + 5 * fusion + 3 + 4 * pass, 4)) tried.push_back(one);
    for (const std::int64_t forgotten : tried) EXPECT_GT(distance_without(o, forgotten), 1e-7) << forgotten;
  }
}

TEST_F(ForgottenTest, WeightsAreGathered) {
  const auto o = options(3);
  make_oracle(o);
  EXPECT_LE(distance_without(o, -1), 1e-10);
  // On the way forth the embedding and what is frozen and what is trained of two blocks, on the way back the first of
  // these again; and behind the training both for the comparison.
  ASSERT_EQ(of_weights_.seen, 20 * 7 + 4);
  // Not of the first step, in which adapters are zero anyway.
  for (const std::int64_t first : {7, 15 * 7}) {
    for (const std::int64_t forgotten : range(first, 7)) {
      EXPECT_GT(distance_without(o, -1, forgotten), 1e-7) << forgotten;
    }
  }
}

}  // namespace
}  // namespace medfuse::train
